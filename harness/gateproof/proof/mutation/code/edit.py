"""One mutant of a source text, and the change that an operator proposes before it becomes one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A replacement of a part of a source text."""

    operator: str
    """A slug such as `boundary` or `sql-where`; ADR 35 lists them."""
    line: int
    """The line on which the replaced part begins, from 1."""
    column: int
    """The column in characters, from 0."""
    function: str
    """The qualified name of the function, such as `Health.ask`; empty outside of functions."""
    start: int
    """Offset of the replaced part, in characters."""
    end: int
    """Offset of its end; equal to `start` for an insertion."""
    after: str
    """The replacement."""
    excluded: str
    """The reason of an exclusion pragma; empty without one."""

    def apply(self, text: str) -> str:
        """Return the mutant of the text that the edit was made for."""
        return text[: self.start] + self.after + text[self.end :]

    def before(self, text: str) -> str:
        """Return the part that the edit replaces."""
        return text[self.start : self.end]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A replacement that an operator proposes, in offsets of characters."""

    operator: str
    start: int
    end: int
    after: str
    last: int = 0
    """The offset of a further line whose pragma excludes the change: the end of a string."""
