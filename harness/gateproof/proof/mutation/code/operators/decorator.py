"""The operator of decorators: one is removed, unless only a type checker reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.site import FUNCTIONS, Site
from gateproof.proof.mutation.code.source import Source

_FOR_TYPE_CHECKERS = frozenset(
    (
        "abstractmethod",
        "deprecated",
        "final",
        "no_type_check",
        "overload",
        "override",
        "runtime_checkable",
    )
)


def changes(source: Source, site: Site) -> Iterator[Change]:
    """Yield a change for each decorator of a function or class; its line goes with it."""
    node = site.node
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        starts = [_sign(source, decorator) for decorator in node.decorator_list]
        ends = [*starts[1:], source.span(node).start]
        for decorator, start, end in zip(node.decorator_list, starts, ends, strict=False):
            if _name(decorator) not in _FOR_TYPE_CHECKERS:
                yield Change(operator="removed-decorator", start=start, end=end, after="")


def _sign(source: Source, decorator: ast.expr) -> int:
    return source.text.rindex("@", 0, source.span(decorator).start)


def _name(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called).rpartition(".")[2]
