"""Waiting: poll a condition up to a deadline and return what was last seen.

The one place that sleeps. The caller asserts on what comes back, so that a state that never came
is a failed assertion and not a time-out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    look: Callable[[], T],
    satisfied: Callable[[T], bool] = bool,
    *,
    deadline_s: float,
    interval_s: float = 0.05,
) -> T:
    """Look again and again until what is seen satisfies, or the deadline passes.

    Args:
        look: returns what is there now.
        satisfied: tells whether that is what was waited for; default: whether it is truthy.
        deadline_s: how long to go on looking, in seconds.
        interval_s: the pause between two looks, in seconds.

    Returns:
        What was last seen, satisfying or not.

    """
    end = time.monotonic() + deadline_s
    while True:
        seen = look()
        if satisfied(seen) or time.monotonic() >= end:
            return seen
        time.sleep(interval_s)
