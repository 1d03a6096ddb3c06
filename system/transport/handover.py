"""Return what a stopping worker has claimed and not started to its queues, at once.

Stock Celery keeps these messages until the last running task has ended. This step of the worker
runs in a warm shutdown after the event loop has ended and before Celery forgets its requests:

1. A task that was revoked ends as revoked: the worker that would get its message may not know.
2. The messages of the others are returned in one statement, as not delivered.

Only tasks that were never handed to the pool are returned; a handed one may have begun, although
its child has not reported so. A pool of threads has been handed all of them, and Celery cancels
those that have not begun; their messages are returned when the connection is closed. A solo pool
runs tasks while messages are delivered, so the transport returns the rest (`activity.stops`).

From the signal on the worker receives no remote control: a revoke has no effect on it.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import bootsteps
from celery.worker import state
from sqlalchemy.exc import DBAPIError

from system.transport.broker import Channel

log = structlog.get_logger("system.transport")


class Handover(bootsteps.StartStopStep):
    """A step of the worker that returns what it will not start."""

    requires = ("celery.worker.components:Pool",)

    def close(self, worker: Any) -> None:
        """Return the messages; what fails is left to the end of the connection."""
        consumer = getattr(worker.consumer, "task_consumer", None)
        channel = getattr(consumer, "channel", None)
        if not isinstance(channel, Channel):
            return
        left = [request for request in tuple(state.reserved_requests) if _is_unstarted(request)]
        kept = [request for request in left if not request.revoked()]  # 1
        try:
            channel.hand_over([request.message.delivery_tag for request in kept])  # 2
        except DBAPIError as error:
            log.warning("claimed messages not returned yet", error=type(error.orig).__name__)
            return
        if kept:
            log.info("claimed messages returned", count=len(kept))


def _is_unstarted(request: Any) -> bool:
    """Return whether a request was never handed to the pool."""
    return request not in state.active_requests and request._apply_result is None  # noqa: SLF001
