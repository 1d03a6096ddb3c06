"""Text from outside in a form that is safe to print, and values in words.

A message of the system under test may hold anything: colours, a window title, a direction mark
that turns the rest of a line round. Every place that prints or quotes such text uses this module.

Source: Unicode 15, sections 23.1 to 23.9 (control, format and tag characters); ECMA-48 (C1).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_HIDDEN = (
    *range(0x7F, 0xA0),
    0xAD,
    0x061C,
    0x180E,
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xD800, 0xE000),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0080),
)
"""Delete and C1 controls, and characters that are invisible, break a line or change its direction.
Listed here, and not taken from Python's tables, so that every Python gives the same bytes."""

_VISIBLE: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    **{code: f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}" for code in _HIDDEN},
    0x7F: 0x2421,
}


_TO_REPLACE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e"
    "\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\U000e0000-\\U000e007f]"
)
"""The keys of `_VISIBLE`: a search for them is faster than a replacement that finds nothing."""


def visible(text: str) -> str:
    """Return text with hidden and control characters replaced by visible ones.

    Kept are line ends and tabs. A C0 control becomes its picture, every other one its escape.
    """
    if text.isprintable() or not _TO_REPLACE.search(text):
        return text
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def printable(text: str) -> str:
    """Return text in a form that starts no new line and controls no terminal.

    Every character that Python does not print is escaped: for names, which are compared by eye.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def one_line(text: str) -> str:
    """Return visible text in one line: each run of white space becomes one space."""
    return " ".join(visible(text).split())


def many(count: int, word: str, plural: str = "") -> str:
    """Return a number and its word: ``1 file``, ``2 files``, ``2 criteria``."""
    return f"{count} {word if count == 1 else plural or f'{word}s'}"


def moment(at: datetime) -> str:
    """Return a time in UTC, in whole seconds."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def duration(value: timedelta) -> str:
    """Return a duration in whole seconds, such as ``0:40:48``."""
    return str(timedelta(seconds=int(value.total_seconds())))
