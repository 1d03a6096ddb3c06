"""Operators of conditions: negation, comparisons, boundaries, and the connectors `and` and `or`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.site import Site
from gateproof.proof.mutation.code.source import Source

_TEXTS: dict[type[ast.AST], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.And: "and",
    ast.Or: "or",
}
_OPPOSITES = {
    "==": "!=",
    "<": ">=",
    "<=": ">",
    "is": "is not",
    "in": "not in",
    "and": "or",
}
_OPPOSITES |= {opposite: text for text, opposite in _OPPOSITES.items()}
_BOUNDARIES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_HAS_TEST = (ast.If, ast.While, ast.IfExp, ast.Assert)


def changes(source: Source, site: Site) -> Iterator[Change]:
    """Yield the changes of a condition."""
    node = site.node
    if isinstance(node, ast.Compare):
        yield from _comparisons(source, node)
    elif isinstance(node, ast.BoolOp):
        yield from _connectors(source, node)
    elif isinstance(node, ast.UnaryOp):
        yield from _without_sign(source, node)
    if _is_condition(site) and not _has_own_opposite(node):
        yield _negated(source, node)


def _is_condition(site: Site) -> bool:
    node, parent = site.node, site.parent
    if isinstance(parent, _HAS_TEST):
        return node is parent.test
    if isinstance(parent, ast.comprehension):
        return node in parent.ifs
    return isinstance(parent, ast.match_case) and node is parent.guard


def _has_own_opposite(node: ast.AST) -> bool:
    """Return whether another operator negates this: a single comparison, `not`, a constant."""
    return isinstance(node, ast.Constant | ast.UnaryOp) or (
        isinstance(node, ast.Compare) and len(node.ops) == 1
    )


def _negated(source: Source, node: ast.AST) -> Change:
    span = source.span(node)
    return Change(
        operator="negated-condition",
        start=span.start,
        end=span.end,
        after=f"not ({source.of(node)})",
    )


def _without_sign(source: Source, node: ast.UnaryOp) -> Iterator[Change]:
    sign = {ast.Not: "not", ast.USub: "-", ast.Invert: "~"}.get(type(node.op))
    if sign is not None:
        start, end = source.span(node)
        yield Change(
            operator="removed-not" if sign == "not" else "removed-sign",
            start=start,
            end=end,
            after=source.text[start + len(sign) : end].lstrip(),
        )


def _comparisons(source: Source, node: ast.Compare) -> Iterator[Change]:
    left = node.left
    for operation, right in zip(node.ops, node.comparators, strict=True):
        text = _TEXTS[type(operation)]
        yield _swapped(source, (left, right), text, "comparison", _OPPOSITES[text])
        if text in _BOUNDARIES:
            yield _swapped(source, (left, right), text, "boundary", _BOUNDARIES[text])
        left = right


def _connectors(source: Source, node: ast.BoolOp) -> Iterator[Change]:
    text = _TEXTS[type(node.op)]
    for sides in zip(node.values, node.values[1:], strict=False):
        yield _swapped(source, sides, text, "connector", _OPPOSITES[text])


def _swapped(
    source: Source, sides: tuple[ast.expr, ast.expr], text: str, operator: str, after: str
) -> Change:
    left, right = sides
    pattern = re.compile(r"(?:\s|\\)+".join(map(re.escape, text.split())))
    start, end = source.find(pattern, source.span(left).end, source.span(right).start)
    return Change(operator=operator, start=start, end=end, after=after)
