"""The place of a change in a module: the function around it, or the variable that it gives a value.

Finer than what a bundle records: a module's statements and tables are values of its variables, and
everything that runs uses all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from gateproof.faults.code.source import SourceFault
from gateproof.faults.code.text import Body, Change, Part, Replacement
from gateproof.faults.interface import Fault


@lru_cache(maxsize=1 << 14)
def unit_at(text: str, start: int) -> str:
    """Return the qualified name of the function or variable at a place, or of the class around it.

    Empty at the top of the module. A function inside of another one is part of that one.

    Args:
        text: the module.
        start: the place, in characters from its beginning.

    Raises:
        SyntaxError: it is no module of this version of Python.

    """
    line = text.count("\n", 0, start) + 1
    return ".".join(_names(_statements(text), line))


def units_of_faults(faults: Iterable[Fault], folder: Path) -> set[tuple[str, str]]:
    """Return files and units of the system that faults change.

    A file that is no module, or that lacks the place, has the empty unit.

    Args:
        faults: of any kind; only changes to the system's source count.
        folder: the root of the system.

    """
    found: set[tuple[str, str]] = set()
    for one in faults:
        if not isinstance(one, SourceFault) or one.tree == "harness":
            continue
        try:
            units = units_of((folder / one.file).read_text(encoding="utf-8"), one.change)
        except (OSError, UnicodeDecodeError, SyntaxError):
            units = ()
        found |= {(one.file, unit) for unit in units or ("",)}
    return found


def units_of(text: str, change: Change) -> tuple[str, ...]:
    """Return the unit that a change concerns; none if its place is not found in the text."""
    match change:
        case Body():
            return (change.function,)
        case Replacement():
            start = text.find(change.before)
            # The first line of what is replaced is often there to make it unique.
            end = start + len(change.before.rstrip())
            return tuple({unit_at(text, start), unit_at(text, end)}) if start >= 0 else ()
        case Part():
            return (unit_at(text, change.start),)
    return ("",)


@lru_cache(maxsize=1 << 8)
def _statements(text: str) -> tuple[ast.stmt, ...]:
    return tuple(ast.parse(text).body)


def _names(statements: tuple[ast.stmt, ...], line: int) -> tuple[str, ...]:
    for one in statements:
        decorators = getattr(one, "decorator_list", ())
        first = min((one.lineno, *(each.lineno for each in decorators)))
        if not first <= line <= (one.end_lineno or one.lineno):
            continue
        if isinstance(one, ast.ClassDef):
            return (one.name, *_names(tuple(one.body), line))
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            return (one.name,)
        if isinstance(one, ast.Assign | ast.AnnAssign):
            target = one.targets[0] if isinstance(one, ast.Assign) else one.target
            return (ast.unparse(target),)
        return _names(tuple(x for x in ast.iter_child_nodes(one) if isinstance(x, ast.stmt)), line)
    return ()
