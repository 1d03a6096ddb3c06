"""Waiting: poll a condition up to a deadline and return its last value.

The only place that sleeps. The caller asserts on the returned value, so that a state that was never
reached is a failed assertion and not a time-out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Measures and passes the time of waits."""

    def monotonic(self) -> float:
        """Return a time in seconds that never goes back."""

    def sleep(self, seconds: float, /) -> None:
        """Pause."""


_CLOCKS: list[Clock] = [time]
"""The clock that waits use now is the last one."""


@contextmanager
def waiting_by(clock: Clock) -> Iterator[None]:
    """Let all waits in the block use another clock."""
    _CLOCKS.append(clock)
    try:
        yield
    finally:
        _CLOCKS.pop()


def wait_until(
    poll: Callable[[], T],
    satisfied: Callable[[T], bool] = bool,
    *,
    deadline_s: float,
    interval_s: float = 0.05,
) -> T:
    """Poll until a value satisfies the condition or the deadline passes; poll at least once.

    Args:
        poll: returns the present value.
        satisfied: returns whether the wait is over; by default, when the value is truthy.
        deadline_s: how long to poll, in seconds.
        interval_s: the pause between two polls, in seconds.

    Returns:
        The last value, whether it satisfies the condition or not.

    """
    clock = _CLOCKS[-1]
    end = clock.monotonic() + deadline_s
    while True:
        value = poll()
        if satisfied(value) or clock.monotonic() >= end:
            return value
        clock.sleep(interval_s)
