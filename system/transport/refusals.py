"""What becomes of messages that this transport cannot hand out.

A message that was handed out too often, each time to a consumer that died with it, and one that
cannot be read, would come back for ever. Whoever keeps dead letters takes them here; what nobody
takes is parked in the table, where it is not lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

EXHAUSTED = "exhausted"
UNREADABLE = "unreadable"

log = structlog.get_logger("system.transport")


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A message, and why it is not handed out."""

    reason: str
    """`exhausted` or `unreadable`."""
    queue: str
    text: str
    """The stored payload."""
    message: Any
    """The payload as kombu's message; None where it cannot be read."""
    deliveries: int
    """How often it was handed out before."""


Taker = Callable[[Refusal], None]
_TAKERS: dict[str, Taker] = {}


def take_refusals(name: str, taker: Taker) -> None:
    """Have refused messages given to a function, which raises when it could not keep one.

    Args:
        name: says whose it is; a second taker of that name replaces the first.
        taker: called in the consuming process; may be called twice for one message.

    """
    _TAKERS[name] = taker


def was_taken(refusal: Refusal) -> bool:
    """Give a message to every taker; say whether there is one and all of them kept it."""
    for name, taker in _TAKERS.items():
        try:
            taker(refusal)
        except Exception as error:  # noqa: BLE001 (the message stays parked, whatever it was)
            log.error("refused message not taken", taker=name, error=type(error).__name__)  # noqa: TRY400
            return False
    return bool(_TAKERS)
