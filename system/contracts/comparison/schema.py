"""Compare two versions of a schema in one direction.

Every keyword is compared. One that this module cannot judge counts as breaking when it changed: a
change is compatible only where that can be shown. Not checked: whether the members of a ``oneOf``
exclude each other, whether two patterns accept the same texts, and whether a bound that is spelt
otherwise (``minimum: 1`` and ``exclusiveMinimum: 0``) means the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from system.contracts.comparison.change import Change, Direction
from system.contracts.comparison.flat import IGNORED, Flat, alternatives, text_of, types_of
from system.contracts.reading.document import Json
from system.contracts.reading.reference import resolved

EXTENSIBLE = "x-extensible-enum"
"""On an enumeration in a response: clients were warned that values will be added."""

LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
RESTRICTIONS = frozenset({"pattern", "format", "multipleOf", "uniqueItems"})
"""Keywords that restrict values, and whose removal allows more."""
WIDER = {("format", "int32"): "int64", ("format", "float"): "double"}
"""A keyword with its value, and the value that allows more."""
JUDGED = LOWER | UPPER | RESTRICTIONS | IGNORED
STRUCTURE = frozenset(
    {
        *("type", "enum", "required", "properties", "additionalProperties", "items", "default"),
        *("readOnly", "writeOnly", EXTENSIBLE),
    }
)

Judge = Callable[["Comparison", Flat, Flat, str], Iterator[Change]]


@dataclass
class Comparison:
    """The comparison of the schemas of two documents in one direction."""

    old: Json
    new: Json
    direction: Direction
    _open: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of schemas that are being compared: a schema may contain itself."""

    def compare(self, old: Json, new: Json, where: str) -> Iterator[Change]:
        """Yield the changes between two versions of a schema.

        Args:
            old: the schema in the older document.
            new: the schema in the newer one.
            where: the place, for people.

        """
        pair = (_identity(old), _identity(new))
        if pair in self._open:
            return
        self._open.add(pair)
        try:
            yield from self._unions(alternatives(self.old, old), alternatives(self.new, new), where)
        except KeyError as error:
            reason = str(error.args[0])
            yield Change(name="undecided", where=where, got=reason, expected="what can be compared")
        finally:
            self._open.remove(pair)

    def _unions(self, old: list[Flat], new: list[Flat], where: str) -> Iterator[Change]:
        """Compare alternatives: each that may occur needs one that allows it."""
        if len(old) == 1 and len(new) == 1:
            yield from self._flat(old[0], new[0], where)
            return
        old, new = self._joined(old), self._joined(new)
        if len(old) == 1 and len(new) == 1:
            yield from self._flat(old[0], new[0], where)
            return
        is_request = self.direction is Direction.REQUEST
        for index, one in enumerate(old if is_request else new):
            pairs = [(one, other) for other in new] if is_request else [(o, one) for o in old]
            if all(self._breaks(first, second, where) for first, second in pairs):
                name = "alternative-removed" if is_request else "alternative-added"
                got = f"alternative {index + 1}, {_summary(one)}, which no other version allows"
                yield Change(name=name, where=where, got=got, expected="one that allows it")

    def _joined(self, flats: list[Flat]) -> list[Flat]:
        """Return alternatives with a plain null folded into the only other one."""
        null = [one for one in flats if types_of(one) == {"null"}]
        rest = [one for one in flats if types_of(one) != {"null"}]
        if null and len(rest) == 1 and "type" in rest[0] and "enum" not in rest[0]:
            return [{**rest[0], "type": rest[0]["type"] | {"null"}}]
        return flats

    def _breaks(self, old: Flat, new: Flat, where: str) -> bool:
        return any(change.is_breaking for change in self._flat(old, new, where))

    def _flat(self, old: Flat, new: Flat, where: str) -> Iterator[Change]:
        for judge in JUDGES:
            yield from judge(self, old, new, where)

    def visible(self, document: Json, flat: Flat) -> dict[str, Json]:
        """Return the properties that occur in this direction."""
        hidden = "readOnly" if self.direction is Direction.REQUEST else "writeOnly"
        properties = flat.get("properties", {})
        return {
            name: schema
            for name, schema in properties.items()
            if not _has(resolved(document, schema), hidden, document)
        }

    def narrowed(self, name: str, where: str, got: str, expected: str) -> Change:
        """Return the change that fewer values are allowed: it breaks requests."""
        is_breaking = self.direction is Direction.REQUEST
        return Change(
            name=f"{name}-narrowed",
            where=where,
            got=got,
            expected=expected,
            is_breaking=is_breaking,
        )

    def widened(self, name: str, where: str, got: str, expected: str) -> Change:
        """Return the change that more values are allowed: it breaks responses."""
        is_breaking = self.direction is Direction.RESPONSE
        return Change(
            name=f"{name}-widened", where=where, got=got, expected=expected, is_breaking=is_breaking
        )


def _types(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    before, after = types_of(old), types_of(new)
    got, expected = ", ".join(sorted(after)), ", ".join(sorted(before))
    if before - after:
        yield run.narrowed("type", where, got, expected)
    if after - before:
        yield run.widened("type", where, got, expected)


def _enums(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    before, after = old.get("enum"), new.get("enum")
    if before == after:
        return
    got, expected = text_of({}, after), text_of({}, before)
    if after is not None and (before is None or any(value not in after for value in before)):
        yield run.narrowed("enum", where, got, expected)
    if before is not None and (after is None or any(value not in before for value in after)):
        change = run.widened("enum", where, got, expected)
        announced = old.get(EXTENSIBLE) is True and after is not None
        yield change if not announced else _harmless(change)


def _bounds(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    for keyword in sorted(LOWER | UPPER):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        strictest = max if keyword in LOWER else min
        tighter = before is None or (after is not None and after == strictest(before, after))
        make = run.narrowed if tighter else run.widened
        yield make(_slug(keyword), where, f"{keyword}: {after}", f"{keyword}: {before}")


def _restrictions(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    for keyword in sorted(RESTRICTIONS):
        before, after = old.get(keyword, False), new.get(keyword, False)
        if before == after:
            continue
        got, expected = f"{keyword}: {after}", f"{keyword}: {before}"
        if after is False or WIDER.get((keyword, str(before))) == after:
            yield run.widened(_slug(keyword), where, got, expected)
        elif before is False or WIDER.get((keyword, str(after))) == before:
            yield run.narrowed(_slug(keyword), where, got, expected)
        else:
            yield Change(name=f"{_slug(keyword)}-changed", where=where, got=got, expected=expected)


def _required(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    """Compare required names; one that does not occur in this direction is not required in it."""
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    gone = set(new.get("properties", {})) - set(run.visible(run.new, new))
    never = set(old.get("properties", {})) - set(run.visible(run.old, old))
    is_request = run.direction is Direction.REQUEST
    for name in sorted(after - before - gone):
        yield Change(
            name="required-added",
            where=f"{where}.{name}",
            got="required",
            expected="optional or absent",
            is_breaking=is_request,
        )
    for name in sorted(before - after - never):
        yield Change(
            name="required-removed",
            where=f"{where}.{name}",
            got="optional or absent",
            expected="required",
            is_breaking=not is_request,
        )


def _properties(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    before, after = run.visible(run.old, old), run.visible(run.new, new)
    for name in sorted(set(before) - set(after)):
        yield Change(
            name="property-removed", where=f"{where}.{name}", got="no such property", expected="it"
        )
    is_closed = old.get("additionalProperties") is False
    for name in sorted(set(after) - set(before)):
        yield Change(
            name="property-added",
            where=f"{where}.{name}",
            got="a new property",
            expected="none: the object was closed" if is_closed else "none",
            is_breaking=is_closed and run.direction is Direction.RESPONSE,
        )
    for name in sorted(set(before) & set(after)):
        yield from run.compare(before[name], after[name], f"{where}.{name}")


def _additional(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    before, after = (one.get("additionalProperties", True) for one in (old, new))
    place = f"{where}.*"
    if before is not False and after is False:
        yield run.narrowed("additional-properties", place, "false", "more properties")
    elif before is False and after is not False:
        yield run.widened("additional-properties", place, "more properties", "false")
    elif before is not False:
        yield from run.compare(before, after, place)


def _items(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    before, after = old.get("items", True), new.get("items", True)
    if before is not True or after is not True:
        yield from run.compare(before, after, f"{where}[]")


def _defaults(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    """A request without the value would mean something else; in a response a default is a note."""
    before, after = old.get("default"), new.get("default")
    if before != after and run.direction is Direction.REQUEST and "default" in old:
        yield Change(
            name="default-changed",
            where=where,
            got=text_of({}, after),
            expected=text_of({}, before),
        )


def _others(run: Comparison, old: Flat, new: Flat, where: str) -> Iterator[Change]:
    """Compare every other keyword as a whole: no change of one can be shown to be compatible."""
    for keyword in sorted((set(old) | set(new)) - JUDGED - STRUCTURE):
        got, expected = text_of(run.new, new.get(keyword)), text_of(run.old, old.get(keyword))
        if got != expected and not keyword.startswith("x-"):
            yield Change(
                name="undecided",
                where=f"{where}/{keyword}",
                got=got[:200],
                expected=f"{expected[:200]}, or a version with a new major number",
            )


JUDGES: tuple[Judge, ...] = (
    *(_types, _enums, _bounds, _restrictions, _required, _properties, _additional, _items),
    *(_defaults, _others),
)
"""One judge for each group of keywords; together they see every keyword."""


def _has(schema: Json, keyword: str, document: Json) -> bool:
    """Return whether a schema or a part of its ``allOf`` has a keyword that is true."""
    if not isinstance(schema, Mapping):
        return False
    parts = [resolved(document, one) for one in schema.get("allOf", ())]
    return schema.get(keyword) is True or any(_has(one, keyword, document) for one in parts)


def _harmless(change: Change) -> Change:
    return Change(
        name=change.name,
        where=change.where,
        got=change.got,
        expected=change.expected,
        is_breaking=False,
    )


def _identity(schema: Any) -> str:
    """Return the name of a referenced schema, or a name that only this object has."""
    target = schema.get("$ref") if isinstance(schema, Mapping) and len(schema) == 1 else None
    return target if isinstance(target, str) else f"object {id(schema)}"


def _slug(keyword: str) -> str:
    """Return a keyword as a slug: ``maxLength`` is ``max-length``."""
    return "".join(f"-{one.lower()}" if one.isupper() else one for one in keyword)


def _summary(flat: Flat) -> str:
    names = ", ".join(sorted(flat.get("properties", {})))
    return f"{'/'.join(sorted(types_of(flat)))} of {names}" if names else text_of({}, flat)[:100]
