"""The text of a drafted ``sut.toml``: keys with their origin, and what a person has to add.

Owns the form of the file. Leaves finding the values to the modules next to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
WIDTH = 100
"""The longest line of a list, in characters; a longer one has a line for each element."""


@dataclass
class Table:
    """One table of the file."""

    name: str
    """Its dotted name; empty for the top level."""
    comment: str = ""
    """Its subject, or why it is empty."""
    lines: list[str] = field(default_factory=list)

    def add(self, key: str, value: Any, origin: str) -> None:
        """Add a key that was found.

        Args:
            key: its name.
            value: text, number, truth value, list or mapping of these.
            origin: where the value comes from, such as ``alembic.ini``.

        """
        self.lines.append(f"{toml_key(key)} = {toml_value(value)}{_comment(origin)}")

    def suggest(self, key: str, value: Any, why: str) -> None:
        """Add a key as a comment: it was not found, or a person has to decide."""
        text = toml_value(value).replace("\n", "\n# ")
        self.lines.append(f"# {toml_key(key)} = {text}{_comment(why)}")

    def note(self, text: str) -> None:
        """Add a comment on a line of its own."""
        self.lines.append(f"# {_one_line(text)}")

    def comment_out(self, why: str) -> None:
        """Turn every key into a comment, because one that the table needs was not found."""
        self.comment = why
        self.lines = [
            line if line.startswith("#") else "# " + line.replace("\n", "\n# ")
            for line in self.lines
        ]

    @property
    def has_values(self) -> bool:
        """Whether any line is a key with a value."""
        return any(not line.startswith("#") for line in self.lines)


def document(tables: Iterable[Table]) -> str:
    """Return the text of the file; a table without a value is a comment as a whole."""
    parts = []
    for table in tables:
        head = f"[{table.name}]" if table.name else ""
        comment = f"# {_one_line(table.comment)}" if table.comment else ""
        if head and not table.has_values:
            head = f"# {head}"
        parts.append("\n".join(line for line in (comment, head, *table.lines) if line))
    return "\n\n".join(part for part in parts if part) + "\n"


def toml_key(key: str) -> str:
    """Return a key, in quotes where TOML needs them."""
    return key if BARE_KEY.fullmatch(key) else _text(key)


def toml_value(value: Any) -> str:
    """Return a value in the form of TOML.

    Args:
        value: text, number, truth value, list or mapping of these.

    Raises:
        TypeError: TOML has no such value.

    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{toml_key(key)} = {toml_value(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return _list([toml_value(one) for one in value])
    raise TypeError(f"TOML: got {type(value).__name__}, expected text, number, list or mapping")


def _list(values: list[str]) -> str:
    line = f"[{', '.join(values)}]"
    if len(line) <= WIDTH:
        return line
    return "[\n" + "".join(f"    {one},\n" for one in values) + "]"


def _text(value: str) -> str:
    """Return a basic string: JSON's escapes are those of TOML, except for the character DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    return f"  # {_one_line(text)}" if text else ""


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[^\S ]|[\x00-\x1f\x7f]", " ", text).split())
