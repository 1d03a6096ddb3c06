"""Read a body as strict JSON, with bounds on what it can cost.

Refuses what parsers disagree about, or PostgreSQL cannot store: bytes that are no UTF-8, duplicate
keys, NaN and the infinities, numbers beyond a float, NUL, lone surrogates, deep nesting.

Source: RFC 8259, sections 4, 6 and 8; RFC 7493 (I-JSON).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from system.errors import IngestionError

MOST_LEVELS = 64
LONGEST_NUMBER = 308
"""A whole number of so many digits is not beyond a float."""

_BRACKET = re.compile(rb'["\[{\]}]')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class UnreadableError(IngestionError):
    """A body is not the JSON that this system reads."""


def read_json(raw: bytes) -> Any:
    """Return the value of a body.

    Raises:
        UnreadableError: it is no JSON, or is refused; the message quotes nothing of it.

    """
    if raw.count(b"[") + raw.count(b"{") > MOST_LEVELS:
        _refuse_depth(raw)
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_int,
            parse_float=_float,
            parse_constant=_constant,
        )
    except UnicodeDecodeError:
        raise UnreadableError("body: got bytes that are no UTF-8, expected JSON") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(f"body: got no JSON at character {error.pos}, expected it") from None
    # Only an escape can make them: neither is allowed in the text itself.
    if "\\u" in text:
        _refuse_text(value)
    return value


def _refuse_depth(raw: bytes) -> None:
    """Refuse deep nesting before parsing, which would recurse; a bracket in a string is none."""
    level = place = 0
    while found := _BRACKET.search(raw, place):
        place = found.end()
        if found[0] == b'"':
            string = _STRING.match(raw, found.start())
            if string is None:
                return  # (the parser reports a string without an end)
            place = string.end()
        else:
            level += 1 if found[0] in b"[{" else -1
        if level > MOST_LEVELS:
            raise UnreadableError(f"body: got more than {MOST_LEVELS} levels, expected fewer")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise UnreadableError("body: got a key twice in one object, expected it once")
    return made


def _int(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        _refuse_number()
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse_number()
    return number


def _refuse_number() -> NoReturn:
    raise UnreadableError("body: got a number beyond a float, expected a smaller one")


def _constant(_: str) -> NoReturn:
    raise UnreadableError("body: got NaN or an infinity, expected a number")


def _refuse_text(value: Any) -> None:
    """Refuse texts that PostgreSQL cannot store, as values and as keys."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and _UNSTORABLE.search(one):
            raise UnreadableError("body: got NUL or half of a surrogate pair, expected neither")
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
