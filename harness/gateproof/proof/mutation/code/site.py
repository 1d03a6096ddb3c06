"""The nodes of a source that operators see, with their surroundings; and those that they never see.

Left out are parts whose change is no defect of the program: docstrings, annotations and type
aliases, imports, `__all__`, messages of assertions, and blocks that only a type checker reads.
Strings that are wording (a log text at level debug or info, the message of an exception, a help
text, the documentation of a metric) are marked. The expressions inside an f-string are left out as
well: Python 3.11 has no correct positions for them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateproof.proof.mutation.code.typing_form import (
    is_alias,
    is_guard,
    is_type_checking,
    last_name,
    type_arguments,
)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
QUIET = ("debug", "info")
"""The levels at which a log text is wording."""

_SILENT_FIELDS = frozenset(("annotation", "returns", "type_params", "type_comment"))
_LISTS_OF_NAMES = frozenset(("__all__", "__slots__", "__match_args__"))
HELP = frozenset(("help", "short_help", "epilog", "description", "summary", "metavar"))
"""Arguments whose value is a text for a person."""
_METRICS = frozenset(("Counter", "Enum", "Gauge", "Histogram", "Info", "Summary"))
"""Classes of prometheus-client; the second argument is the metric's documentation."""
_MAIN = '__name__ == "__main__"'


@dataclass(frozen=True, kw_only=True)
class Site:
    """A node and where it is."""

    node: ast.AST
    parent: ast.AST | None = None
    function: str = ""
    """The qualified name of the enclosing function; empty outside."""
    scope: str = ""
    """The qualified name of the enclosing function or class; empty outside."""
    default: bool = False
    """Whether it is in the default value of a parameter."""
    wording: bool = False
    """Whether a string here is text for a person."""
    handler: bool = False
    """Whether it is in the body of an exception handler."""
    returns_bool: bool = False
    """Whether the enclosing function is annotated to return a bool."""


def sites(tree: ast.Module) -> Iterator[Site]:
    """Yield every node that operators see, an outer one before the ones in it."""
    pending = [Site(node=tree)]
    while pending:
        site = pending.pop()
        yield site
        pending.extend(_below(site))


def is_quiet_log(node: ast.AST) -> bool:
    """Return whether a call writes a log line at level debug or info."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in QUIET
        and "log" in ast.unparse(node.func.value).lower()
    )


def _below(site: Site) -> Iterator[Site]:
    for field, child in _children(site.node):
        if not _is_left_out(site.node, field, child):
            yield _enter(site, field, child)


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            yield field, value
        elif isinstance(value, list):
            yield from ((field, item) for item in value if isinstance(item, ast.AST))


def _is_left_out(node: ast.AST, field: str, child: ast.AST) -> bool:
    return (
        field in _SILENT_FIELDS
        or (isinstance(node, ast.Assert) and field == "msg")
        or type(node).__name__ in ("JoinedStr", "TemplateStr", "TypeAlias")
        or (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant))
        or _names_only(child)
        or is_alias(child)
        or child in type_arguments(node)
        or _is_guard(node, child)
        or (isinstance(node, ast.If) and _never_runs(node, field))
    )


def _is_guard(node: ast.AST, child: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(child, ast.keyword) and is_guard(node, child)


def _names_only(node: ast.AST) -> bool:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    return any(isinstance(target, ast.Name) and target.id in _LISTS_OF_NAMES for target in targets)


def _never_runs(node: ast.If, field: str) -> bool:
    if is_type_checking(node.test):
        return field in ("test", "body")
    return field == "test" and ast.unparse(node.test).replace("'", '"') == _MAIN


def _enter(site: Site, field: str, child: ast.AST) -> Site:
    node = site.node
    inner = replace(site, node=child, parent=node)
    if isinstance(node, ast.arguments) and field in ("defaults", "kw_defaults"):
        return replace(inner, default=True)
    if isinstance(node, ast.ExceptHandler) and field == "body":
        return replace(inner, handler=True)
    if _is_wording(node, field, child):
        return replace(inner, wording=True)
    return _named(inner)


def _named(site: Site) -> Site:
    """Return the site with the scope that its node opens."""
    node = site.node
    if isinstance(node, ast.ClassDef):
        return replace(site, scope=f"{site.scope}.{node.name}".lstrip("."), handler=False)
    if isinstance(node, FUNCTIONS):
        name = f"{site.scope}.{node.name}".lstrip(".")
        returns_bool = isinstance(node.returns, ast.Name) and node.returns.id == "bool"
        return replace(
            site, scope=name, function=name, handler=False, wording=False, returns_bool=returns_bool
        )
    return site


def _is_documentation(call: ast.Call, argument: ast.AST) -> bool:
    return argument in call.args[1:2] and last_name(call.func) in _METRICS


def _is_wording(node: ast.AST, field: str, child: ast.AST) -> bool:
    return (
        (isinstance(node, ast.Raise) and field == "exc")
        or (field == "args" and is_quiet_log(node))
        or (isinstance(node, ast.keyword) and node.arg in HELP)
        or (isinstance(node, ast.Call) and _is_documentation(node, child))
    )
