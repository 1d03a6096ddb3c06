"""The worker's consumer, which writes the letters of messages that never become a task.

Each letter is written before Celery takes its message off the queue: a worker that dies in between
is handed the message again, and finds the letter there. Celery has a signal for some of these, but
sends it afterwards, without the task's id, and none for a body that cannot be decoded.

What comes again although its task has ended, because a worker died between the end and the
acknowledgement, is taken off the queue and not run: a failure keeps its letter, a success is one.
What could be kept nowhere goes back to its queue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery import states
from celery.app.task import Context
from celery.exceptions import InvalidTaskError, NotRegistered
from celery.worker import consumer as stock

from system import identity
from system.dead_letters import capture, table
from system.dead_letters.row import DeadLetter, class_name, describe

log = structlog.get_logger("system.dead_letters")


class Consumer(stock.Consumer):
    """Celery's consumer; what it refuses leaves a letter first."""

    connection_errors: Any

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a message whose body cannot be read."""
        if self._keep(message, exc):
            super().on_decode_error(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Keep a message that names no task."""
        error = InvalidTaskError("message: got no task's name, expected one; it cannot be run")
        if self._keep(message, error):
            super().on_unknown_message(body, message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a message for a task that no worker of this version knows."""
        if self._keep(message, NotRegistered(_headers(message).get("task"))):
            super().on_unknown_task(body, message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a message that cannot be a call: a refused content type, an ETA that is no time."""
        if self._keep(message, exc):
            super().on_invalid_task(body, message, exc)

    def _keep(self, message: Any, error: Exception) -> bool:
        """Write the letter of a message; one that was kept nowhere is handed out again."""
        lost = capture.losses()
        keep_message(self.app, message, error)
        if capture.losses() == lost:
            return True
        message.reject_log_error(log, self.connection_errors, requeue=True)
        return False

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Return what handles a message: its correlation id is put out of Celery's way first.

        A message that comes again after its task has ended (its worker died in between) is done.
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
    """Say whether a message that was handed out before is of a task whose end is stored.

    A failure while the database was away has its letter, on disk or in the table by now, and no
    result. Where that cannot be asked it counts as not ended: better run twice than never.
    """
    if not (message.delivery_info or {}).get("redelivered"):
        return False
    try:
        found = identity.identify(_task_of(app, message), request_of(message))
        if capture.is_kept_on_disk(found.task_id):  # asked first: the disk is never away
            return True
        state = app.backend.get_task_meta(message.headers["id"], cache=False)["status"]
        return state in states.READY_STATES or table.has_letter(found)
    except Exception as error:  # noqa: BLE001 (whatever keeps a backend from answering)
        log.warning("end of a task not looked up", error=class_name(error))
        return False


def keep_message(app: Any, message: Any, error: Exception) -> None:
    """Write the letter of a message that was refused."""
    try:
        letter = letter_of(app, message, error)
    except Exception as broken:  # noqa: BLE001 (whatever it is must be said here)
        capture.say_message_not_written(broken, _headers(message))
    else:
        capture.keep(capture.entry_of(letter, _headers(message)))


def letter_of(app: Any, message: Any, error: Exception) -> DeadLetter:
    """Return what is written about a message that was refused."""
    return describe(
        _task_of(app, message),
        request_of(message),
        error,
        unreadable=_call_of(message)[2],
        seal=capture.sealing_function(),
    )


def request_of(message: Any) -> Context:
    """Return the request that a message would have become, as far as it can be read."""
    headers = identity.carry(dict(_headers(message)))
    args, kwargs, _ = _call_of(message)
    return Context(
        headers
        | {
            "id": str(headers.get("id") or stable_id(message)),
            "args": args,
            "kwargs": kwargs,
            "delivery_info": message.delivery_info,
        }
    )


def stable_id(message: Any) -> str:
    """Return an id for a message without one: the same whenever this message is handed out.

    The delivery tag is given when a message is sent and is stored with it, so that two messages
    which say the same are two.
    """
    digest = hashlib.sha256(str((message.properties or {}).get("delivery_tag")).encode())
    digest.update(_bytes(message.body))
    return f"message-{digest.hexdigest()[:32]}"


def _call_of(message: Any) -> tuple[list[Any], dict[str, Any], str | None]:
    """Return the arguments of a message as far as it can be read, and why not further."""
    try:
        body = message.payload
        if isinstance(body, Mapping):  # protocol 1
            args, kwargs = body.get("args") or [], body.get("kwargs") or {}
        else:
            args, kwargs, _ = body
    except Exception:  # noqa: BLE001 (a body can break its decoder in any way)
        args = kwargs = None
    if isinstance(args, list | tuple) and isinstance(kwargs, Mapping):
        return list(args), dict(kwargs), None
    size = len(_bytes(message.body))
    return [], {}, f"the message's body of {size} bytes could not be read"


def _task_of(app: Any, message: Any) -> Any:
    name = _headers(message).get("task")
    return capture.task_of(app, name if isinstance(name, str) else None)


def _headers(message: Any) -> Mapping[str, Any]:
    return message.headers if isinstance(message.headers, Mapping) else {}


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else str(body).encode("utf-8", "backslashreplace")
