"""Values of any type, as SQL expressions over a number `n` that differs in every row.

Owns one expression for each type, further candidates for columns with a constraint, and the quoting
of names and texts. Leaves the choice between candidates to `gateproof.faults.tenancy.row`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from gateproof.faults.tenancy.catalogue import Type

_MOMENT = "timestamptz '2001-01-01 00:00:00+00' + (n % 100000000) * interval '1 second'"

BY_TYPE: Mapping[str, str] = {
    "uuid": "gen_random_uuid()",
    "smallint": "(n % 32000)",
    "integer": "(n % 2000000000)",
    "bigint": "n",
    "real": "(n % 100000)",
    "double precision": "n",
    "money": "(n % 100000)::numeric",
    "oid": "(n % 2000000000)",
    "boolean": "false",
    "date": "date '2001-01-01' + (n % 20000)::integer",
    "timestamp with time zone": _MOMENT,
    "timestamp without time zone": f"({_MOMENT}) AT TIME ZONE 'UTC'",
    "time without time zone": "time '00:00' + (n % 86399) * interval '1 second'",
    "time with time zone": "timetz '00:00+00' + (n % 86399) * interval '1 second'",
    "interval": "(n % 1000000) * interval '1 second'",
    "json": "json_build_object('n', n)",
    "jsonb": "jsonb_build_object('n', n)",
    "bytea": "convert_to(n::text, 'UTF8')",
    "inet": "inet '10.0.0.0' + (n % 16000000)",
    "cidr": "set_masklen(inet '10.0.0.0' + (n % 16000000), 32)",
    "macaddr": "lpad(to_hex(n % 1000000000), 12, '0')",
    "macaddr8": "lpad(to_hex(n % 1000000000), 16, '0')",
    "xml": "('<n>' || n || '</n>')",
    "tsvector": "('n' || n)",
    "tsquery": "('n' || n)",
    "point": "point(n, 0)",
    "line": "'{1,1,1}'",
    "lseg": "'[(0,0),(1,1)]'",
    "box": "'(0,0),(1,1)'",
    "path": "'[(0,0),(1,1)]'",
    "polygon": "'((0,0),(1,1),(1,0))'",
    "circle": "'<(0,0),1>'",
    "pg_lsn": "'0/0'",
    "hstore": "('n=>' || n)",
    "ltree": "('n' || n)",
    '"char"': "'n'",
}
"""The expressions of base types, by the names that PostgreSQL gives them."""

NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
TIMES = frozenset({"date", "timestamp with time zone", "timestamp without time zone"})

TEXTS = (
    *("'a'", "'A'", "'aa'", "'AA'", "'AAA'", "'aaa'", "'0'", "'00'", "'000'", "'00000'", "''"),
    *("'a@example.com'", "'https://example.com/'", "'example.com'", "'a-b'", "'+10000000000'"),
    *("'00:00'", "'2001-01-01'", "'2001-01'", "'#000000'", "'1.0.0'", "'en-US'", "'10.0.0.1'"),
    *("'n' || n || '@example.com'", "'https://example.com/' || n", "upper(left(md5(n::text), 3))"),
    *("md5(n::text)", "md5(n::text) || md5(n::text)", "'sha256:' || md5('') || md5(n::text)"),
    *("gen_random_uuid()::text", "'+1' || lpad(n::text, 10, '0')", "n::text", "'N' || n"),
)
"""Candidates for a text with a constraint: the usual forms of codes and addresses."""

UNTYPED = {"date": r"\d{4}-\d\d-\d\d.*", "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"}

LITERAL = re.compile(r"'((?:[^']|'')*)'(?:::([a-z_\" ]+(?:\[\])?))?|(?<![\w.])(-?\d+(?:\.\d+)?)")


def identifier(name: str) -> str:
    """Return a name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text quoted for SQL."""
    escaped = text.replace("'", "''")
    return f"E'{escaped.replace(chr(92), chr(92) * 2)}'" if chr(92) in text else f"'{escaped}'"


def expression(types: Mapping[int, Type], found: Type, modifier: int = -1) -> str:
    """Return the expression of a value of a type; NULL for a type that this module lacks."""
    if found.kind == "d":
        inner = types[found.base]
        value = expression(types, inner, found.modifier)
    elif found.kind == "e":
        value = literal(found.labels[0]) if found.labels else "NULL"
    elif found.kind == "c":
        value = f"ROW({', '.join(expression(types, types[one]) for one in found.fields)})"
    elif found.kind in ("r", "m"):
        value = _range(types, found)
    elif found.category == "A":
        value = f"ARRAY[{expression(types, types[found.element])}]"
    else:
        value = _base(found, modifier)
    return f"({value})::{found.cast}"


def candidates(
    types: Mapping[int, Type], found: Type, modifier: int, texts: list[str]
) -> Iterator[str]:
    """Yield further values for a column that has a constraint, the most natural first.

    Args:
        types: all types.
        found: the type of the column below its domains.
        modifier: its length or precision.
        texts: the expressions of the constraints, which often name the permitted values.

    """
    named = [one for text in texts for one in LITERAL.findall(text)]
    yield from _named(found, named)
    yield f"NULL::{found.cast}"
    yield expression(types, found, modifier)
    if found.name in NUMBERS:
        yield from _numbers(found, named)
    if found.name in TIMES:
        yield from _times(found, expression(types, found, modifier))
    if found.category == "S":
        yield from (f"({v})::{found.cast}" for v in (*_of_lengths(named), *TEXTS))
    yield from (f"({v})::{found.cast}" for v in _usual(found))


def _numbers(found: Type, named: list[tuple[str, str, str]]) -> Iterator[str]:
    """Yield numbers at and next to those that constraints name, and usual ones."""
    near = [float(one[2] or one[0]) for one in named if _is_number(one[2] or one[0])]
    yield from (f"({v + d:.15g})::{found.cast}" for v in near for d in (0, 1, -1, 0.5))
    yield from (f"({v})::{found.cast}" for v in (1, 0, 2, 0.5, 10, 100, 1000, -1, "1 + n % 9"))


def _times(found: Type, own: str) -> Iterator[str]:
    shifts = ("interval '1 day'", "interval '-1 day'", "interval '30 days'")
    yield from (f"({own} + {shift})::{found.cast}" for shift in shifts)
    yield from (f"({v})::{found.cast}" for v in ("now()", "now() + interval '1 day'"))


def _usual(found: Type) -> Sequence[str]:
    """Return further values of types that have few or plain ones."""
    if found.kind == "e":
        return [literal(label) for label in found.labels]
    if found.category == "A":
        return ["'{}'"]
    if found.name in ("json", "jsonb"):
        return ["'{}'", "'[]'", "'\"a\"'", "'1'", "'null'"]
    return {"interval": ["'1 second'", "'1 day'", "'0'"], "boolean": ["true", "false"]}.get(
        found.name, []
    )


def _named(found: Type, named: list[tuple[str, str, str]]) -> Iterator[str]:
    """Yield the literals of constraints that can be of a type; a wrong cast would be an error."""
    for text, cast, number in named:
        plain = cast.strip().removesuffix("[]")
        if not number and (found.category == "S" or plain == found.name or _fits(found, text)):
            yield f"'{text}'::{found.cast}"
        elif found.name in NUMBERS and _is_number(number or text):
            yield f"({number or text})::{found.cast}"


def _fits(found: Type, text: str) -> bool:
    """Return whether a text without a type, from the bounds of a partition, can be of a type."""
    if found.kind == "e":
        return text in found.labels
    pattern = UNTYPED.get("date" if found.name in TIMES else found.name)
    return pattern is not None and re.fullmatch(pattern, text) is not None


def _of_lengths(named: list[tuple[str, str, str]]) -> Iterator[str]:
    """Yield texts whose length is a number that a constraint names."""
    for _, _, number in named:
        if number.isdigit() and 0 < int(number) <= 10_000:
            yield f"left(n::text || repeat('0', {number}), {number})"
            yield f"repeat('a', {number})"
            yield f"repeat('A', {number})"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", text) is not None


def _range(types: Mapping[int, Type], found: Type) -> str:
    """Return a range of one value: those of other rows do not overlap it."""
    assert found.range is not None
    assert found.subtype is not None
    edge = expression(types, types[found.subtype])
    name = types[found.range].name
    value = f"{name}({edge}, {edge}, '[]')"
    return value if found.kind == "r" else f"{found.name}({value})"


def _base(found: Type, modifier: int) -> str:
    if found.name in ("numeric", "decimal"):
        digits = 9 if modifier < 0 else ((modifier - 4) >> 16) - ((modifier - 4) & 0x7FF)
        return f"(n % {10 ** max(0, min(digits, 9))})::numeric"
    if found.name in ("bit", "bit varying"):
        return f"repeat('0', {max(modifier, 1)})"
    if found.name in BY_TYPE:
        return BY_TYPE[found.name]
    if found.category == "S":
        return "('n' || n)" if modifier < 0 else f"right('n' || n, {modifier - 4})"
    return BY_TYPE.get(found.name.rpartition(".")[2], "NULL")
