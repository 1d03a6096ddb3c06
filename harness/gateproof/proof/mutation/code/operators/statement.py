"""Operators of statements: removal, another returned value, and `break` instead of `continue`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.site import Site, is_quiet_log
from gateproof.proof.mutation.code.source import Source

REMOVED = "removed-statement"
_LEAVING = (ast.Break, ast.Continue, ast.Delete)


def changes(source: Source, site: Site) -> Iterator[Change]:
    """Yield the changes of a simple statement."""
    node = site.node
    if isinstance(node, ast.Return):
        yield from _returns(source, site, node)
    elif isinstance(node, ast.stmt) and _is_removable(node):
        start, end = source.span(node)
        yield Change(operator=REMOVED, start=start, end=end, after="pass")
    if isinstance(node, ast.Continue):
        start, end = source.span(node)
        yield Change(operator="continue-break", start=start, end=end, after="break")


def is_call(value: ast.expr) -> bool:
    """Return whether an expression is a call, awaited or not."""
    return isinstance(value.value if isinstance(value, ast.Await) else value, ast.Call)


def _is_removable(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Yield | ast.YieldFrom) and not is_quiet_log(
            node.value
        )
    if isinstance(node, ast.Raise):
        return not _is_abstract(node)
    if isinstance(node, ast.Assign):
        return all(_is_part(target) for target in node.targets)
    if isinstance(node, ast.AnnAssign):
        return node.value is not None and _is_part(node.target)
    return isinstance(node, (*_LEAVING, ast.AugAssign))


def _is_part(target: ast.expr) -> bool:
    """Return whether an assignment is to an attribute or an item: a name would become unknown."""
    return isinstance(target, ast.Attribute | ast.Subscript)


def _is_abstract(node: ast.Raise) -> bool:
    return node.exc is not None and ast.unparse(node.exc).startswith("NotImplementedError")


def _returns(source: Source, site: Site, node: ast.Return) -> Iterator[Change]:
    """Yield None instead of a value, or both booleans where the function is annotated with bool."""
    if node.value is None:
        return
    start, end = source.span(node.value)
    for after in ("True", "False") if site.returns_bool else ("None",):
        yield Change(operator="return-value", start=start, end=end, after=after)
