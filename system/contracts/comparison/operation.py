"""Compare two versions of an operation: parameters, body, answers and security."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from system.contracts.comparison.change import Change, Direction
from system.contracts.comparison.flat import text_of
from system.contracts.comparison.schema import Comparison
from system.contracts.reading.document import Json
from system.contracts.reading.operation import Operation, Part, media

STYLE = ("style", "explode", "allowReserved", "allowEmptyValue", "content")
"""The keys of a parameter or a header that say how its value is spelt."""


def compare_operation(old: Operation, new: Operation) -> Iterator[Change]:
    """Yield the changes between two versions of one operation."""
    yield from _ids(old, new)
    yield from _parameters(old, new)
    yield from _bodies(old, new)
    yield from _responses(old, new)
    yield from _security(old, new)
    before, after = old.content.get("callbacks"), new.content.get("callbacks")
    if text_of(old.document, before) != text_of(new.document, after):
        yield Change(
            name="undecided", where=f"{old.name}/callbacks", got="a change", expected="none"
        )


def _ids(old: Operation, new: Operation) -> Iterator[Change]:
    got, expected = (str(one.content.get("operationId")) for one in (new, old))
    if got != expected:
        # The id is no part of a request; generated clients name their methods after it.
        yield Change(
            name="operation-id-changed",
            where=old.name,
            got=got,
            expected=expected,
            is_breaking=False,
        )


def _parameters(old: Operation, new: Operation) -> Iterator[Change]:
    before, after = _by_place(old), _by_place(new)
    for key in before.keys() - after.keys():
        part = before[key]
        yield Change(
            name="parameter-removed", where=part.where, got="no such parameter", expected="it"
        )
    for key in after.keys() - before.keys():
        part = after[key]
        is_required = part.content.get("required") is True
        yield Change(
            name="parameter-added",
            where=part.where,
            got="a required parameter" if is_required else "an optional parameter",
            expected="none",
            is_breaking=is_required,
        )
    for key in before.keys() & after.keys():
        yield from _part(old, new, before[key], after[key], Direction.REQUEST)


def _by_place(operation: Operation) -> dict[tuple[str, str], Part]:
    """Return the parameters by place and name; those of the path by their position in it."""
    found = {}
    for part in operation.parameters():
        place, name = part.content["in"], part.content["name"]
        if place == "path" and name in operation.names_in_path:
            name = str(operation.names_in_path.index(name))
        found[place, name.lower() if place == "header" else name] = part
    return found


def _part(
    old: Operation, new: Operation, before: Part, after: Part, direction: Direction
) -> Iterator[Change]:
    """Compare a parameter or a header of a response."""
    was, required = (one.content.get("required") is True for one in (before, after))
    if was != required:
        yield Change(
            name="required-added" if required else "required-removed",
            where=before.where,
            got="required" if required else "optional",
            expected="optional" if required else "required",
            is_breaking=required is (direction is Direction.REQUEST),
        )
    for key in STYLE:
        got = text_of(new.document, after.content.get(key))
        expected = text_of(old.document, before.content.get(key))
        if got != expected:
            where = f"{before.where}/{key}"
            yield Change(name="style-changed", where=where, got=got[:200], expected=expected[:200])
    yield from _schemas(old, new, before, after, direction)


def _schemas(
    old: Operation, new: Operation, before: Part, after: Part, direction: Direction
) -> Iterator[Change]:
    run = Comparison(old.document, new.document, direction)
    schemas = (before.content.get("schema", True), after.content.get("schema", True))
    yield from run.compare(*schemas, before.where)


def _bodies(old: Operation, new: Operation) -> Iterator[Change]:
    before, after = old.body(), new.body()
    if before is None and after is None:
        return
    if before is None or after is None:
        yield from _one_body(before, after)
        return
    was, required = (one.content.get("required") is True for one in (before, after))
    if was != required:
        name = "required-added" if required else "required-removed"
        got = "required" if required else "optional"
        yield Change(
            name=name, where=before.where, got=got, expected="as before", is_breaking=required
        )
    yield from _media(old, new, before, after, Direction.REQUEST)


def _one_body(before: Part | None, after: Part | None) -> Iterator[Change]:
    if before is not None:
        yield Change(name="body-removed", where=before.where, got="no body", expected="a body")
    if after is not None:
        required = after.content.get("required") is True
        got = "a required body" if required else "an optional body"
        yield Change(
            name="body-added", where=after.where, got=got, expected="none", is_breaking=required
        )


def _media(
    old: Operation, new: Operation, before: Part, after: Part, direction: Direction
) -> Iterator[Change]:
    """Compare the media types of a body: a client chose one of those that there were."""
    was = {part.name: part for part in media(before)}
    now = {part.name: part for part in media(after)}
    for name in sorted(was.keys() - now.keys()):
        yield Change(
            name="media-type-removed", where=before.where, got=", ".join(sorted(now)), expected=name
        )
    for name in sorted(now.keys() - was.keys()):
        # A response without a body that gets one is the same to a client that reads none.
        yield Change(
            name="media-type-added", where=before.where, got=name, expected="", is_breaking=False
        )
    for name in sorted(was.keys() & now.keys()):
        yield from _schemas(old, new, was[name], now[name], direction)


def _responses(old: Operation, new: Operation) -> Iterator[Change]:
    before, after = old.responses(), new.responses()
    for status in sorted(before.keys() - after.keys()):
        yield Change(
            name="response-removed", where=before[status].where, got="no such answer", expected="it"
        )
    for status in sorted(after.keys() - before.keys()):
        # A client treats a status that it does not know as the first of its class (RFC 9110, 15).
        yield Change(
            name="response-added",
            where=after[status].where,
            got="a new answer",
            expected="none",
            is_breaking=False,
        )
    for status in sorted(before.keys() & after.keys()):
        yield from _media(old, new, before[status], after[status], Direction.RESPONSE)
        yield from _headers(old, new, before[status], after[status])


def _headers(old: Operation, new: Operation, before: Part, after: Part) -> Iterator[Change]:
    was = {part.name.lower(): part for part in old.headers(before)}
    now = {part.name.lower(): part for part in new.headers(after)}
    for name in sorted(was.keys() - now.keys()):
        yield Change(
            name="header-removed", where=was[name].where, got="no such header", expected="it"
        )
    for name in sorted(was.keys() & now.keys()):
        yield from _part(old, new, was[name], now[name], Direction.RESPONSE)


def _security(old: Operation, new: Operation) -> Iterator[Change]:
    """A client that met one requirement must still meet one."""
    before, after = (one.security or [{}] for one in (old, new))
    got, expected = _spelt(after), _spelt(before)
    if not all(any(_is_met(other, one) for other in after) for one in before):
        yield Change(name="security-tightened", where=old.name, got=got, expected=expected)
    if not all(any(_is_met(one, other) for one in before) for other in after):
        # No client breaks; a reader of the changes must see that less is demanded.
        yield Change(
            name="security-loosened",
            where=old.name,
            got=got,
            expected=expected,
            is_breaking=False,
        )
    for name in sorted({name for one in before for name in one}):
        now, was = _scheme(new, name), _scheme(old, name)
        if now is not None and now != was:
            yield Change(
                name="security-scheme-changed",
                where=f"{old.name}/{name}",
                got=now,
                expected=str(was),
            )


def _is_met(requirement: Mapping[str, list[str]], by: Mapping[str, list[str]]) -> bool:
    """Return whether credentials that met one requirement meet another."""
    return all(name in by and set(scopes) <= set(by[name]) for name, scopes in requirement.items())


def _spelt(requirements: list[Mapping[str, list[str]]]) -> str:
    """Return requirements for people, such as `key and other (read, write) or none`."""
    named = (
        [
            f"{name} ({', '.join(sorted(scopes))})" if scopes else name
            for name, scopes in one.items()
        ]
        for one in requirements
    )
    return " or ".join(" and ".join(sorted(one)) or "none" for one in named)


def _scheme(operation: Operation, name: str) -> str | None:
    found: Mapping[str, Any] = _schemes(operation.document)
    return text_of(operation.document, found[name]) if name in found else None


def _schemes(document: Json) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document.get("components", {}).get("securitySchemes", {})
    return found
