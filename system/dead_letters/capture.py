"""From a failure that is seen to the letter that is written; nothing here ever raises.

What the database does not take is kept on local disk, and written from there by a thread of the
worker's parent as soon as it can be. What the disk does not take either is one error line in the
log, without the payload: whoever reports a failure (Celery's tracing, its signals, a transport)
has nothing better to do with another error.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from celery import signals
from celery.app.task import Context
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from system import settings
from system.connections import database
from system.dead_letters import encryption, table
from system.dead_letters.row import DeadLetter, UnregisteredTask, class_name, describe
from system.dead_letters.spool import Spool, folder_for
from system.dead_letters.table import Entry, Settlement
from system.errors import ConfigurationError, SpoolError
from system.identity import HEADER_DEAD_LETTER, canonical_uuid
from system.transport.endings import TellingBackend

NOT_WRITTEN = "dead letter not written"
KEPT_ON_DISK = "dead letter kept on disk"
UNKNOWN_TASK = "unknown"
NOT_KEPT = "not kept: nothing tells which of its values are sensitive"
DRAIN_INTERVAL_S = 2.0
_LOST = threading.local()

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
    signals.worker_ready.connect(
        _start_draining, weak=False, dispatch_uid="system.dead_letters.start_draining"
    )


class EntryEnding:
    """What is written about a task's end: beside its result, else by itself, else on disk."""

    def __init__(self, task_id: str, entry: Entry) -> None:
        self.task_id = task_id
        self._entry = entry
        self._refused: Exception | None = None

    def write(self, connection: Connection) -> None:
        """Write in the transaction of the result."""
        try:
            table.put(connection, first_of(self._entry, self.task_id))
        except Exception as error:
            if connection.invalidated:
                raise
            # The result is stored all the same: the letter can come later.
            self._refused = error

    def finish(self, *, written: bool) -> None:
        """See that it is kept."""
        if self._refused is not None:
            keep_on_disk(self._entry, self._refused)
        elif not written:
            keep(self._entry)


class Observer:
    """What `TellingBackend` tells of every task's end."""

    def of_failure(
        self, app: Any, task_id: str, error: BaseException, traceback: str | None, request: Any
    ) -> EntryEnding | None:
        """Return what a failure leaves; None where there is nothing to write."""
        letter = letter_of_failure(app, task_id, error, traceback, request)
        if letter is None:
            return None
        return EntryEnding(task_id, entry_of(letter, getattr(request, "headers", None)))

    def of_success(self, task_id: str, request: Any) -> EntryEnding | None:
        """Return how a replay ended; None for any other task."""
        letter_id = _letter_id(getattr(request, "headers", None))
        if letter_id is None:
            return None
        settled = Settlement(letter_id=letter_id, replay_id=task_id, verdict="succeeded")
        return EntryEnding(task_id, settled)


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
        if request is None:
            return without_arguments(app, Context({"id": task_id}), error)
        task = task_of(app, getattr(request, "task", None))
        try:
            return describe(
                task, request, error, task_id=task_id, traceback=traceback, seal=sealing_function()
            )
        except (TypeError, ValueError, RecursionError):
            # The task was given the request's own objects, and may have changed them.
            return without_arguments(app, request, error)
    except Exception as broken:  # noqa: BLE001 (whatever it is must be said here)
        _say(NOT_WRITTEN, broken, task_name=getattr(request, "task", None), task_id=task_id)
        return None


def without_arguments(app: Any, request: Context, error: BaseException) -> DeadLetter:
    """Return the letter of a failure whose arguments are not known, or have no JSON form.

    Nothing tells then what of the error's text is sensitive, so only its class is kept.
    """
    bare = Context(vars(request) | {"args": (), "kwargs": {}})
    letter = describe(
        task_of(app, getattr(request, "task", None)),
        bare,
        error,
        unreadable="what it was asked is not known, or cannot be written",
    )
    return replace(letter, error_message=NOT_KEPT, traceback=None)


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
        letter = describe(
            sender,
            request,
            exception,
            task_id=task_id,
            traceback=traceback,
            seal=sealing_function(),
        )
    except Exception as broken:  # noqa: BLE001 (whatever it is must be said here)
        _say(NOT_WRITTEN, broken, task_name=sender.name, task_id=task_id)
    else:
        keep(entry_of(letter, request.headers))


def entry_of(letter: DeadLetter, headers: Mapping[str, Any] | None) -> Entry:
    """Return what a failure leaves: a letter, or that the replay of one failed."""
    letter_id = _letter_id(headers)
    if letter_id is None:
        return letter
    return Settlement(
        letter_id=letter_id, replay_id=letter.identity.task_id, verdict="failed", failure=letter
    )


def is_kept_on_disk(task_id: str) -> bool:
    """Say whether what a task left waits on this machine's disk for its database.

    A disk that cannot be read is logged and holds nothing: there is more that can be asked.
    """
    try:
        return spool().find(task_id) is not None
    except (OSError, ValueError, ConfigurationError) as error:
        log.warning("spool not read", error=class_name(error))
        return False


def keep(entry: Entry) -> None:
    """Write in a transaction of its own, or keep on disk."""
    try:
        table.write(first_of(entry, key_of(entry)))
    except Exception as error:  # noqa: BLE001 (whatever it is must be said here)
        keep_on_disk(entry, error)


def keep_on_disk(entry: Entry, why: Exception) -> None:
    """Keep on disk what the database did not take."""
    letter = entry.failure if isinstance(entry, Settlement) else entry
    task_id = key_of(entry)
    name = letter.identity.task_name if letter else None
    try:
        spool().put(task_id, table.to_record(entry))
    except Exception as broken:  # noqa: BLE001 (whatever it is must be said here)
        _say(NOT_WRITTEN, why, task_name=name, task_id=task_id, spool=class_name(broken))
    else:
        _say(KEPT_ON_DISK, why, task_name=name, task_id=task_id)


def key_of(entry: Entry) -> str:
    """Return the id of the task whose end an entry tells."""
    return entry.replay_id if isinstance(entry, Settlement) else entry.identity.task_id


def first_of(entry: Entry, task_id: str) -> Entry:
    """Return what is kept on disk about a task's end, if there is something, else the entry.

    A result that could not be stored is a failure of its own to Celery, which tells of it next; by
    then the database may be back, and the failure behind it would be forgotten.
    """
    try:
        kept = spool().find(task_id)
        return table.from_record(kept) if kept else entry
    except (OSError, ValueError, TypeError, KeyError, ConfigurationError):
        return entry


def spool() -> Spool:
    """Return the spool of this process's database.

    Raises:
        ConfigurationError: the environment names no usable database or folder.

    """
    wanted = settings.dead_letters_from(os.environ)
    url = settings.connections_from(os.environ).database_url
    return Spool(folder_for(wanted.spool, url), limit_bytes=wanted.spool_limit_bytes)


def drain() -> int:
    """Write what is kept on disk, the oldest first, and return how many letters it was.

    Raises:
        SQLAlchemyError: the database still does not take the oldest.
        OSError: the disk cannot be read.

    """
    waiting = spool()
    if not waiting.count():
        return 0
    # An engine of its own: the thread that drains must hold no lock of the pool that a child
    # inherits when it is forked in the middle of it.
    engine = create_engine(
        settings.connections_from(os.environ).database_url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args=database.connect_args("system-spool"),
    )

    def write(record: dict[str, Any]) -> None:
        try:
            with engine.begin() as connection:
                table.put(connection, table.from_record(record))
        except (DBAPIError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, DBAPIError) and not table.is_refused(error):
                raise
            log.error("spooled letter refused", error=class_name(error))  # noqa: TRY400 (no quote)
            raise SpoolError("spooled letter: got one that the table does not take") from None

    return waiting.drain(write)


def task_of(app: Any, name: str | None) -> Any:
    """Return the task of a name, or what stands for one that is not registered."""
    return app.tasks.get(name) or UnregisteredTask(name or UNKNOWN_TASK)


def sealing_function() -> Callable[[str], str] | None:
    """Return what seals; None without a key, and with one that cannot be used, which is logged."""
    try:
        sealer = encryption.sealer()
    except ConfigurationError as error:
        log.error("dead letters are not sealed", error=str(error))  # noqa: TRY400 (it is said)
        return None
    return sealer.seal if sealer else None


def losses() -> int:
    """Return how many letters this thread could keep nowhere."""
    return getattr(_LOST, "count", 0)


def say_message_not_written(error: Exception, headers: Mapping[str, Any]) -> None:
    """Log that a message's letter is lost, without anything that it holds."""
    _say(NOT_WRITTEN, error, task_name=headers.get("task"), task_id=str(headers.get("id")))


def _letter_id(headers: Mapping[str, Any] | None) -> str | None:
    return canonical_uuid((headers or {}).get(HEADER_DEAD_LETTER))


def _say(
    event: str, error: Exception, *, task_name: str | None, task_id: str, **more: object
) -> None:
    if event == NOT_WRITTEN:
        _LOST.count = losses() + 1
    # No traceback and no message: both can quote the row. The log context has the rest.
    log.error(
        event,
        error=class_name(error),
        sqlstate=table.sqlstate(error),
        task_name=task_name,
        task_id=task_id,
        **more,
    )


def _use_consumer(conf: Any, **_: object) -> None:
    conf.worker_consumer = "system.dead_letters.consumer:Consumer"


def _start_draining(**_: object) -> None:
    threading.Thread(target=_keep_draining, name="dead-letter-spool", daemon=True).start()


def _keep_draining() -> None:
    """Drain again and again; say once that it does not work, and when it does."""
    failing = False
    pause = threading.Event()
    while True:
        try:
            written = drain()
        except (SQLAlchemyError, OSError, ValueError, ConfigurationError) as error:
            if not failing:
                log.warning("spool not drained", error=class_name(error))
            failing = True
        else:
            failing = False
            if written:
                log.info("spool drained", letters=written)
        pause.wait(DRAIN_INTERVAL_S)
