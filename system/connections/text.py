"""Text in the form that PostgreSQL stores: no NUL, no lone surrogate, names of bounded length."""

from __future__ import annotations

# Characters of up to four bytes in several columns still fit into an index row.
LONGEST = 400


def storable(text: str) -> str:
    """Return text with NUL and lone surrogates, which PostgreSQL refuses, replaced by escapes."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def storable_name(value: object) -> str:
    """Return a name that an external publisher chose as text that can be stored and indexed."""
    text = storable(str(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
