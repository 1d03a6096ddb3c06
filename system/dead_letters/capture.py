"""From a failure that is seen to the letter that is written; nothing here ever raises.

A letter that cannot be written is one error line in the log, without the payload: whoever reports a
failure (Celery's tracing, its signals, a transport) has nothing better to do with another error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from celery import signals
from celery.app.task import Context
from sqlalchemy import Connection

from system.dead_letters import table
from system.dead_letters.letter import DeadLetter, UnregisteredTask, class_name, describe
from system.transport.endings import TellingBackend

NOT_WRITTEN = "dead letter not written"
UNKNOWN_TASK = "unknown"

log = structlog.get_logger("system.dead_letters")


def connect() -> None:
    """Have every failure end as a letter; a second call changes nothing."""
    TellingBackend.observer = Observer()
    signals.celeryd_init.connect(
        _use_consumer, weak=False, dispatch_uid="system.dead_letters.use_consumer"
    )
    signals.task_failure.connect(
        record_failure, weak=False, dispatch_uid="system.dead_letters.record_failure"
    )


class LetterEnding:
    """A letter on its way: beside the result of its task, else by itself."""

    def __init__(self, letter: DeadLetter) -> None:
        self.task_id = letter.identity.task_id
        self._letter = letter
        self._refused: Exception | None = None

    def write(self, connection: Connection) -> None:
        """Insert the letter in the transaction of its result."""
        try:
            table.insert(connection, self._letter)
        except Exception as error:
            if connection.invalidated:
                raise
            # The result is stored all the same: the letter is the lesser part of the two.
            self._refused = error

    def finish(self, *, written: bool) -> None:
        """See that the letter is kept."""
        if self._refused is not None:
            say_not_written(self._refused, self._letter)
        elif not written:
            keep(self._letter)


class Observer:
    """What `TellingBackend` tells of every task's end."""

    def of_failure(
        self, app: Any, task_id: str, error: BaseException, traceback: str | None, request: Any
    ) -> LetterEnding | None:
        """Return the letter of a failure; None where there is none to write."""
        letter = letter_of_failure(app, task_id, error, traceback, request)
        return LetterEnding(letter) if letter else None

    def of_success(self, task_id: str, request: Any) -> None:  # noqa: ARG002 (the protocol's)
        """Return nothing: a success leaves no letter."""
        return


def letter_of_failure(
    app: Any, task_id: str, error: BaseException, traceback: str | None, request: Any
) -> DeadLetter | None:
    """Return the letter of a failure that is being stored.

    Returns:
        None for an unknown task, whose message says more and was kept by the consumer, and where
        nothing can be told, which is then logged.

    """
    if request is not None and not isinstance(request, Context):
        return None
    try:
        known = request or Context({"id": task_id})
        task = task_of(app, getattr(known, "task", None))
        return describe(task, known, error, task_id=task_id, traceback=traceback)
    except Exception as broken:  # noqa: BLE001 (whatever it is must be said here)
        _say(broken, task_name=getattr(request, "task", None), task_id=task_id)
        return None


def record_failure(
    sender: Any,
    task_id: str,
    exception: BaseException,
    args: Any = None,
    kwargs: Any = None,
    einfo: Any = None,
    **_: object,
) -> None:
    """Write the letter of a failure whose result backend told nobody of it."""
    if isinstance(sender.backend, TellingBackend):
        return
    try:
        request = sender.request if sender.request.id else Context({"id": task_id})
        request = Context(vars(request) | {"args": args, "kwargs": kwargs})
        traceback = getattr(einfo, "traceback", None)
        letter = describe(sender, request, exception, task_id=task_id, traceback=traceback)
    except Exception as broken:  # noqa: BLE001 (whatever it is must be said here)
        _say(broken, task_name=sender.name, task_id=task_id)
    else:
        keep(letter)


def keep(letter: DeadLetter) -> None:
    """Write a letter in a transaction of its own."""
    try:
        table.write(letter)
    except Exception as error:  # noqa: BLE001 (whatever it is must be said here)
        say_not_written(error, letter)


def task_of(app: Any, name: str | None) -> Any:
    """Return the task of a name, or what stands for one that is not registered."""
    return app.tasks.get(name) or UnregisteredTask(name or UNKNOWN_TASK)


def say_not_written(error: Exception, letter: DeadLetter) -> None:
    """Log that a letter is lost, without anything that it holds."""
    _say(error, task_name=letter.identity.task_name, task_id=letter.identity.task_id)


def say_message_not_written(error: Exception, headers: Mapping[str, Any]) -> None:
    """Log that a message's letter is lost, without anything that it holds."""
    _say(error, task_name=headers.get("task"), task_id=str(headers.get("id")))


def _say(error: Exception, *, task_name: str | None, task_id: str) -> None:
    # No traceback and no message: both can quote the row. The log context has the rest.
    log.error(
        NOT_WRITTEN,
        error=class_name(error),
        sqlstate=table.sqlstate(error),
        task_name=task_name,
        task_id=task_id,
    )


def _use_consumer(conf: Any, **_: object) -> None:
    conf.worker_consumer = "system.dead_letters.consumer:Consumer"
