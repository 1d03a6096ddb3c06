"""Record when this process last consumed, for the thread that reports its health; whether it stops.

Times are monotonic. Each is written by the worker's event loop alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from celery.worker import state

TURN_S = 0.5
"""How often the event loop records that it turns."""


@dataclass
class Activity:
    """The consumer's last signs of life."""

    moved_at: float = 0.0
    """When messages were last claimed or acknowledged."""
    turned_at: float = 0.0
    """When the event loop last turned."""

    def move(self) -> None:
        """Record that messages were claimed or acknowledged."""
        self.moved_at = time.monotonic()

    def turn(self) -> None:
        """Record that the event loop turns."""
        self.turned_at = time.monotonic()


ACTIVITY = Activity()
"""The activity of this process."""


def stops() -> bool:
    """Return whether this process's worker got a signal to stop."""
    # (An exit status of 0 is a request to stop too.)
    flags = state.should_stop, state.should_terminate
    return any(flag is not None and flag is not False for flag in flags)
