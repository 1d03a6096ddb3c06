"""Consume messages in a worker, and write the dead-letter row of each that Celery refuses.

The row is written before Celery takes the message off its queue: if the worker dies in between,
the message is delivered again and its row exists already. Celery's own signals come too late, carry
no task id, and do not cover a body that cannot be decoded.

A message that is redelivered although its task has ended (its worker died between the end and the
acknowledgement) is taken off the queue and not run. A message whose row can be kept nowhere goes
back to its queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from celery import states
from celery.exceptions import InvalidTaskError, NotRegistered
from celery.worker import consumer as stock

from system import identity
from system.dead_letters.capture.message import (
    headers_of,
    keep_message,
    request_of,
    task_of_message,
)
from system.dead_letters.row import class_name
from system.dead_letters.storage import table
from system.dead_letters.storage.keeper import Lost, is_spooled
from system.transport.endings import NOT_RUN

log = structlog.get_logger("system.dead_letters")


class Consumer(stock.Consumer):
    """Celery's consumer; each message that it refuses leaves a row first."""

    connection_errors: Any

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Record a message whose body cannot be read."""
        if self._keep(message, exc):
            super().on_decode_error(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Record a message that names no task."""
        error = InvalidTaskError("message: got no task name, expected one; it cannot be run")
        if self._keep(message, error):
            super().on_unknown_message(body, message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Record a message for a task that no worker of this version knows."""
        if self._keep(message, NotRegistered(headers_of(message).get("task"))):
            super().on_unknown_task(body, message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Record a message that is no valid call: a refused content type, a malformed ETA."""
        if self._keep(message, exc):
            super().on_invalid_task(body, message, exc)

    def _keep(self, message: Any, error: Exception) -> bool:
        """Write the row of a message; if it is lost, return the message to its queue."""
        if not isinstance(keep_message(self.app, message, error), Lost):
            return True
        message.reject_log_error(log, self.connection_errors, requeue=True)
        return False

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Return the handler of a message, which first keeps its correlation id from Celery.

        A message that is redelivered after its task has ended is acknowledged and not run.
        """
        handle: Callable[[Any], Any] = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> Any:
            if isinstance(message.headers, dict):
                identity.carry(message.headers)
                if has_ended(self.app, message):
                    log.info("task had ended already", task_id=message.headers.get("id"))
                    return message.ack_log_error(log, self.connection_errors)
            return handle(message)

        return on_task_received


def has_ended(app: Any, message: Any) -> bool:
    """Return whether a redelivered message belongs to a task whose end is stored.

    A failure while the database was away has a row, on disk or in the table by now, and no result.
    If neither can be queried, the task counts as not ended: to run it twice is better than never.
    """
    if not (message.delivery_info or {}).get("redelivered"):
        return False
    try:
        found = identity.identify(task_of_message(app, message), request_of(message))
        if is_spooled(found.task_id):  # first: the disk is always there
            return True
        stored = app.backend.get_task_meta(message.headers["id"], cache=False)
        # A failure that Celery stored because another task failed is no end of this one.
        ended = stored["status"] in states.READY_STATES and not stored.get(NOT_RUN)
        return ended or table.has_row(found)
    except Exception as error:  # noqa: BLE001 (a backend can fail to answer in any way)
        log.warning("end of a task not looked up", error=class_name(error))
        return False
