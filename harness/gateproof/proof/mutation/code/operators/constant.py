"""Operators of constants: numbers, booleans and strings, also in default values of parameters."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.site import Site
from gateproof.proof.mutation.code.source import Source
from gateproof.proof.mutation.code.sql.literal import is_sql

ADDED = "XX"
"""Inserted at the start of a string."""

_QUOTES = re.compile(r"""[A-Za-z]*(?:\"{3}|'{3}|"|')""")


def changes(source: Source, site: Site) -> Iterator[Change]:
    """Yield the changes of a constant; in the default value of a parameter, they are `default`."""
    node = site.node
    if isinstance(node, ast.JoinedStr):
        yield from _strings(source, site)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str | bytes):
            yield from _strings(source, site) if node.value else ()
        elif isinstance(node.value, bool):
            yield _replaced(source, site, "boolean", repr(not node.value))
        elif isinstance(node.value, int | float):
            yield from _numbers(source, site, node.value)


def _numbers(source: Source, site: Site, value: float) -> Iterator[Change]:
    for changed in (value + 1, value - 1):
        if changed != value:
            yield _replaced(source, site, "number", repr(changed))


def _replaced(source: Source, site: Site, operator: str, after: str) -> Change:
    start, end = source.span(site.node)
    named = "default" if site.default else operator
    return Change(operator=named, start=start, end=end, after=after)


def _strings(source: Source, site: Site) -> Iterator[Change]:
    """Yield the change of the first literal of a string, unless it is wording or SQL."""
    pieces = source.pieces_of(site.node)
    if site.wording or not pieces or is_sql(source, site.node):
        return
    start, end = pieces[0]
    literal = source.text[start:end]
    quotes = _QUOTES.match(literal)
    assert quotes is not None
    yield Change(
        operator="default" if site.default else "string",
        start=start,
        end=end,
        after=quotes[0] + ADDED + literal[quotes.end() :],
        last=end,
    )
