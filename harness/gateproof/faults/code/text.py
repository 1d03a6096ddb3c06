"""Changes to the text of a file that apply exactly once, or are refused.

There are four kinds: replacing a text that occurs once, replacing the body of a function (found in
the syntax tree by its qualified name), adding lines at the end of the file, and replacing the text
at a place, for a file that is known to be unchanged.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass

from gateproof.base.errors import HarnessError


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """Replaces a text that occurs exactly once in the file."""

    before: str
    after: str

    def describe(self) -> str:
        """Return both texts."""
        return f"replace\n{self.before.strip()}\nby\n{self.after.strip() or '(nothing)'}"

    def apply(self, text: str) -> str:
        """Return the changed text.

        Raises:
            HarnessError: the text does not occur exactly once.

        """
        found = text.count(self.before)
        if found != 1:
            first = self.before.strip().splitlines()[0]
            raise HarnessError(f"place of the change: got {found} of {first!r}, expected exactly 1")
        return text.replace(self.before, self.after)


@dataclass(frozen=True, kw_only=True)
class Body:
    """Replaces the body of one function or method; its signature and decorators stay."""

    function: str
    """Qualified name, such as ``Health.ask``."""
    body: str

    def describe(self) -> str:
        """Return the function's name and its new body."""
        return f"body of {self.function}:\n{textwrap.dedent(self.body).strip()}"

    def apply(self, text: str) -> str:
        """Return the changed text.

        Raises:
            HarnessError: there is no function of that name, or several.

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
    """Adds lines at the end of the file."""

    lines: str

    def describe(self) -> str:
        """Return the lines."""
        return f"add at the end:\n{textwrap.dedent(self.lines).strip()}"

    def apply(self, text: str) -> str:
        """Return the changed text."""
        return f"{text}\n\n{textwrap.dedent(self.lines).strip()}\n"


@dataclass(frozen=True, kw_only=True)
class EmptyLine:
    """Adds an empty line at the end of the file: a change that does not matter."""

    def describe(self) -> str:
        """Return the change."""
        return "add an empty line at the end"

    def apply(self, text: str) -> str:
        """Return the changed text."""
        return f"{text}\n"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Replaces a part of a text by its place in it."""

    start: int
    """The first replaced character, counted from 0."""
    end: int
    """The first character after it."""
    after: str

    def describe(self) -> str:
        """Return the place and the new text."""
        return f"replace characters {self.start} to {self.end} by\n{self.after or '(nothing)'}"

    def apply(self, text: str) -> str:
        """Return the changed text."""
        return text[: self.start] + self.after + text[self.end :]


Change = Replacement | Body | Addition | Part


def _functions(tree: ast.AST, path: list[str]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the functions with a qualified name, also those inside ``if`` and ``try``."""
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
