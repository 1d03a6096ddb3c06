"""Changes to the text of a file that apply exactly once, or are refused.

Three ways of saying where: a text that stands there once, a function by its qualified name (found
in the syntax tree), or the end of the file.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass

from gateproof.base.errors import HarnessError


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """One text in the place of another that stands in the file exactly once."""

    before: str
    after: str

    def describe(self) -> str:
        """Return both texts."""
        return f"replace\n{self.before.strip()}\nby\n{self.after.strip() or '(nothing)'}"

    def apply(self, text: str) -> str:
        """Return the changed text.

        Raises:
            HarnessError: the text to replace stands there more or less than once.

        """
        found = text.count(self.before)
        if found != 1:
            first = self.before.strip().splitlines()[0]
            raise HarnessError(f"place of the change: got {found} of {first!r}, expected exactly 1")
        return text.replace(self.before, self.after)


@dataclass(frozen=True, kw_only=True)
class Body:
    """Another body for one function or method; its signature and decorators stay."""

    function: str
    """Qualified name: ``Health.ask``."""
    body: str

    def describe(self) -> str:
        """Return the function's name and its new body."""
        return f"body of {self.function}:\n{textwrap.dedent(self.body).strip()}"

    def apply(self, text: str) -> str:
        """Return the changed text.

        Raises:
            HarnessError: no function of that name, or several.

        """
        found = _functions(ast.parse(text), self.function.split("."))
        if len(found) != 1:
            raise HarnessError(
                f"place of the change: got {len(found)} functions {self.function}, expected 1"
            )
        first, last = found[0].body[0], found[0].body[-1]
        lines = text.splitlines(keepends=True)
        new = textwrap.indent(textwrap.dedent(self.body).strip(), " " * first.col_offset)
        return "".join((*lines[: first.lineno - 1], f"{new}\n", *lines[last.end_lineno :]))


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Further lines at the end of the file."""

    lines: str

    def describe(self) -> str:
        """Return the lines."""
        return f"add at the end:\n{textwrap.dedent(self.lines).strip()}"

    def apply(self, text: str) -> str:
        """Return the changed text."""
        return f"{text}\n\n{textwrap.dedent(self.lines).strip()}\n"


Change = Replacement | Body | Addition


def _functions(tree: ast.AST, path: list[str]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the functions that a qualified name leads to, at any depth of ``if`` and ``try``."""
    head, *rest = path
    found: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == head and rest:
                found += _functions(node, rest)
            elif node.name == head and not isinstance(node, ast.ClassDef):
                found.append(node)
        else:
            found += _functions(node, path)
    return found
