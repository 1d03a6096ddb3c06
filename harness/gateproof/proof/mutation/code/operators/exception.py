"""Operators of exceptions: one is swallowed, or no longer caught."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.operators.statement import is_call
from gateproof.proof.mutation.code.site import Site, is_quiet_log
from gateproof.proof.mutation.code.source import Source

SWALLOWED = "swallowed-exception"
_INDENTATION = re.compile(r"^[ \t\f]*$")
_REST = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:[\r\n]|\Z)")


def changes(source: Source, site: Site) -> Iterator[Change]:
    """Yield the changes of a handler, of ``raise`` in a handler, and of a statement that calls."""
    node = site.node
    if isinstance(node, ast.ExceptHandler):
        yield from _handler(source, site, node)
    elif isinstance(node, ast.Raise) and site.handler:
        start, end = source.span(node)
        yield Change(operator=SWALLOWED, start=start, end=end, after="pass")
    elif isinstance(node, ast.Expr) and is_call(node.value) and not is_quiet_log(node.value):
        yield from _guarded(source, node)


def _handler(source: Source, site: Site, node: ast.ExceptHandler) -> Iterator[Change]:
    start, end = source.span(node.body[0]).start, source.span(node.body[-1]).end
    yield Change(operator=SWALLOWED, start=start, end=end, after="pass")
    if node.type is not None and not isinstance(site.parent, ast.TryStar):
        caught = source.span(node.type)
        yield Change(operator="uncaught-exception", start=caught.start, end=caught.end, after="()")


def _guarded(source: Source, node: ast.Expr) -> Iterator[Change]:
    """Yield a statement that has its lines for itself, inside of ``try``."""
    start, end = source.span(node)
    line = source.lines[source.position(start)[0] - 1]
    indentation = source.text[line:start]
    if _INDENTATION.match(indentation) and _REST.match(source.text, end):
        # Only its first line moves: the others are inside of brackets or a string.
        after = (
            f"try:\n{indentation}    {source.text[start:end]}\n"
            f"{indentation}except Exception:\n{indentation}    pass"
        )
        yield Change(operator=SWALLOWED, start=start, end=end, after=after)
