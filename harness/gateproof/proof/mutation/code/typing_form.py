"""Forms that guide a type checker or a programmer: aliases, casts, and guards of a dataclass."""

from __future__ import annotations

import ast
import builtins

_TYPES_FIRST = frozenset(("cast", "NewType", "ParamSpec", "TypeVar", "TypeVarTuple"))
_GUARDS = frozenset(("frozen", "kw_only", "slots"))
"""Arguments of `dataclass` that refuse errors of a programmer; no input of a program shows them."""


def is_type_checking(test: ast.expr) -> bool:
    """Return whether a condition is `TYPE_CHECKING`."""
    return last_name(test) == "TYPE_CHECKING"


def is_alias(node: ast.AST) -> bool:
    """Return whether a statement gives a name to a type, such as ``Kept = Written | Lost``."""
    if isinstance(node, ast.AnnAssign):
        return last_name(node.annotation) == "TypeAlias"
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.BinOp | ast.Subscript)
        and is_type(node.value)
    )


def is_type(node: ast.expr) -> bool:
    """Return whether an expression has the form of a type: capitalised names and built-in types."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr) and is_type(node.left) and is_type(node.right)
    if isinstance(node, ast.Subscript):
        return is_type(node.value)
    if isinstance(node, ast.Constant):
        return node.value is None or isinstance(node.value, str)
    name = last_name(node)
    return (name[:1].isupper() and not name.isupper()) or isinstance(
        getattr(builtins, name, None), type
    )


def type_arguments(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return the parts of an expression that name types: of ``cast("X", value)``, of `Literal`."""
    if isinstance(node, ast.Call) and node.args and last_name(node.func) in _TYPES_FIRST:
        return (node.args[0],)
    if isinstance(node, ast.Subscript) and last_name(node.value) == "Literal":
        return (node.slice,)
    return ()


def is_guard(call: ast.Call, keyword: ast.keyword) -> bool:
    """Return whether an argument of `dataclass` only refuses errors of a programmer."""
    return keyword.arg in _GUARDS and last_name(call.func) == "dataclass"


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name; empty for any other expression."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
