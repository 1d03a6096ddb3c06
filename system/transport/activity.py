"""Record when this process last consumed, for the thread that reports its health.

Times are monotonic. Each is written by the worker's event loop alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

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
