"""Texts as PostgreSQL stores them."""

from __future__ import annotations

# Four bytes each and several columns are still a row that an index takes.
LONGEST = 400


def storable(text: str) -> str:
    """Return text with what PostgreSQL stores in none as escapes: NUL and lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def name(value: object) -> str:
    """Return what somebody else named something as text that can be stored and indexed."""
    text = storable(str(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
