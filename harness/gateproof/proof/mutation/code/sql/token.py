"""The tokens of SQL with their depth in parentheses; there is no grammar, so a fragment will do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

INSERTED = "\ue000"
"""A private character, repeated, for what an f-string inserts."""

_TOKEN = re.compile(
    r"""(?P<skipped>\s+|--[^\r\n]*|/\*.*?\*/)
    |'(?:[^']|'')*'|"[^"]*"
    |\$\w*\$|::?\w+|%\(\w+\)s|%s|\w+(?:\.\w+)*|\ue000+
    |[-+*/<>=~!@\#%^&|?]+
    |.""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"(": ")", "[": "]", "CASE": "END"}


@dataclass(frozen=True)
class Token:
    """A token of SQL."""

    word: str
    """Its text, in capitals."""
    start: int
    end: int
    depth: int
    """The number of parentheses, brackets and CASE expressions around it."""


def tokens_of(sql: str) -> Sequence[Token]:
    """Return the tokens of SQL, without comments; what follows an odd parenthesis stays in it."""
    tokens: list[Token] = []
    closing: list[str] = []
    for match in _TOKEN.finditer(sql):
        word = match[0].upper()
        if match["skipped"] is not None:
            continue
        if closing and word == closing[-1]:
            closing.pop()
        tokens.append(Token(word, match.start(), match.end(), len(closing)))
        if word in _CLOSING:
            closing.append(_CLOSING[word])
    return tokens
