"""Operators of arithmetic: another operation, or one operand alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.site import Site
from gateproof.proof.mutation.code.source import Source

_SWAPS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "/"),
    ast.Pow: ("**", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitXor: ("^", "&"),
}
_JOINS = {ast.Add: "+", ast.BitOr: "|"}
"""Operations on sequences, sets, mappings and types: one operand is left away instead."""

_SEQUENCES = (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp, ast.Dict, ast.Set, ast.DictComp)


def changes(source: Source, site: Site) -> Iterator[Change]:
    """Yield the changes of an operation, and of an assignment such as ``x += 1``."""
    node = site.node
    if isinstance(node, ast.BinOp):
        yield from _operation(source, node)
    elif isinstance(node, ast.AugAssign):
        yield from _assignment(source, node)


def _assignment(source: Source, node: ast.AugAssign) -> Iterator[Change]:
    if type(node.op) in _SWAPS and not _is_sequence(node.value):
        before, after = (f"{text}=" for text in _SWAPS[type(node.op)])
        yield _swapped(source, (node.target, node.value), before, after)


def _operation(source: Source, node: ast.BinOp) -> Iterator[Change]:
    kind = type(node.op)
    joins = _is_sequence(node.left) or _is_sequence(node.right)
    if kind is ast.BitOr or (joins and kind is ast.Add):
        yield from _operands(source, node, _JOINS[kind])
    elif kind in _SWAPS and not joins:
        yield _swapped(source, (node.left, node.right), *_SWAPS[kind])


def _is_sequence(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_sequence(node.left) or _is_sequence(node.right)
    return isinstance(node, _SEQUENCES) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def _operands(source: Source, node: ast.BinOp, text: str) -> Iterator[Change]:
    """Yield both operands alone, with the parentheses that they have."""
    start, end = source.span(node)
    operation = _between(source, (node.left, node.right), text)
    for after in (
        source.text[start : operation[0]].rstrip(" "),
        source.text[operation[1] : end].lstrip(),
    ):
        yield Change(operator="removed-operand", start=start, end=end, after=after)


def _swapped(source: Source, sides: tuple[ast.expr, ast.expr], before: str, after: str) -> Change:
    start, end = _between(source, sides, before)
    return Change(operator="arithmetic", start=start, end=end, after=after)


def _between(source: Source, sides: tuple[ast.expr, ast.expr], text: str) -> tuple[int, int]:
    left, right = sides
    pattern = re.compile(re.escape(text))
    return source.find(pattern, source.span(left).end, source.span(right).start)
