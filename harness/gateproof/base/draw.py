"""The values that a check gets from chance and from clocks, in one place.

So that a check can be run again on what was recorded, it takes identifiers and times from here: a
run records them, and a playback gives the same ones.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

Draw = Callable[[Callable[[], Any]], Any]
"""Receives what makes a value, and returns the value."""

_DRAWS: list[Draw] = []
"""The last one records or plays back the values that are drawn now."""


def new_uuid() -> uuid.UUID:
    """Return a UUID that was never used."""
    return drawn(uuid.uuid4)


def new_number(below: int) -> int:
    """Return a random number that is not negative and less than another."""
    return drawn(lambda: secrets.randbelow(below))


def monotonic_s() -> float:
    """Return a time in seconds that never goes back, for differences."""
    return drawn(time.monotonic)


def utc_now() -> dt.datetime:
    """Return the present time in UTC."""
    return drawn(lambda: dt.datetime.now(dt.UTC))


def drawn(make: Callable[[], T]) -> T:
    """Return a value that differs in each run, and is the same in a playback.

    Args:
        make: makes the value in a run: a text, number, time, id, or a collection of them.

    """
    found: T = _DRAWS[-1](make) if _DRAWS else make()
    return found


@contextmanager
def drawing_by(draw: Draw) -> Iterator[None]:
    """Let another function return all such values in the block."""
    _DRAWS.append(draw)
    try:
        yield
    finally:
        _DRAWS.remove(draw)
