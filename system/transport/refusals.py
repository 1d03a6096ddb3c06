"""Hand refused messages to their handlers.

A message that exceeded its delivery limit because its consumers died, and one that cannot be read,
would be redelivered for ever. The dead letters register a handler here. A message that no handler
keeps is parked in the table, where it is not lost.
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
    """A message that is not delivered, and why."""

    reason: str
    """`exhausted` or `unreadable`."""
    queue: str
    text: str
    """The stored payload."""
    message: Any
    """The payload as kombu's message; None if it cannot be read."""
    deliveries: int
    """The number of earlier deliveries."""


Handler = Callable[[Refusal], None]
_HANDLERS: dict[str, Handler] = {}


def handle_refusals(name: str, handler: Handler) -> None:
    """Register a handler of refused messages.

    Args:
        name: identifies the handler; a second one of that name replaces the first.
        handler: runs in the consuming process, possibly twice for one message. It raises if it
            cannot keep the message.

    """
    _HANDLERS[name] = handler


def was_handled(refusal: Refusal) -> bool:
    """Pass a message to every handler; return whether there is one and all of them kept it."""
    for name, handler in _HANDLERS.items():
        try:
            handler(refusal)
        except Exception as error:  # noqa: BLE001 (the message is parked, whatever the error)
            log.error("refused message not kept", handler=name, error=type(error).__name__)  # noqa: TRY400
            return False
    return bool(_HANDLERS)
