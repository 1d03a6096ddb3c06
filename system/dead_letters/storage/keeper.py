"""Keep an entry: in the table, else on local disk, else as one error line; never raise.

An entry that the database refuses is kept on disk, and `drain` writes it from there later. If the
disk refuses it too, the log has one error line without the payload: the callers (Celery's tracing,
its signals, the transport) could not handle another error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import structlog

from system import settings
from system.dead_letters.row import class_name
from system.dead_letters.storage import table
from system.dead_letters.storage.entry import Entry, from_record, key_of, task_name_of, to_record
from system.dead_letters.storage.spool import Spool, folder_for
from system.errors import ConfigurationError

NOT_WRITTEN = "dead-letter row not written"
KEPT_ON_DISK = "dead-letter row kept on disk"

log = structlog.get_logger("system.dead_letters")


@dataclass(frozen=True)
class Written:
    """The database has the entry."""


@dataclass(frozen=True)
class Spooled:
    """The local disk has the entry."""

    error: Exception
    """Why the database does not have it."""


@dataclass(frozen=True)
class Lost:
    """The entry is kept nowhere; the log says so."""

    error: Exception
    """Why the row could not be made, or the database does not have it."""


Kept = Written | Spooled | Lost


def keep(entry: Entry) -> Kept:
    """Write an entry in a transaction of its own, or keep it on disk."""
    try:
        table.write(prefer_spooled(entry, key_of(entry)))
    except Exception as error:  # noqa: BLE001 (any error must be logged, none raised)
        return keep_on_disk(entry, error)
    return Written()


def keep_on_disk(entry: Entry, error: Exception) -> Kept:
    """Keep an entry on disk.

    Args:
        entry: not in the table.
        error: why the database did not take it.

    """
    task_id, task_name = key_of(entry), task_name_of(entry)
    try:
        spool().put(task_id, to_record(entry))
    except Exception as broken:  # noqa: BLE001 (any error must be logged, none raised)
        return log_lost(error, task_name=task_name, task_id=task_id, spool=class_name(broken))
    _log(KEPT_ON_DISK, error, task_name=task_name, task_id=task_id)
    return Spooled(error)


def log_lost(error: Exception, *, task_name: str | None, task_id: str, **more: object) -> Lost:
    """Log that a task's entry is lost, without anything that it holds."""
    _log(NOT_WRITTEN, error, task_name=task_name, task_id=task_id, **more)
    return Lost(error)


def prefer_spooled(entry: Entry, task_id: str) -> Entry:
    """Return the entry that the disk has of a task, if it has one, else the given entry.

    A result that cannot be stored is another failure to Celery, which reports it next. The
    database may be back by then, and the first failure would be overwritten.
    """
    try:
        spooled = spool().find(task_id)
        return from_record(spooled) if spooled else entry
    except (OSError, ValueError, TypeError, KeyError, ConfigurationError):
        return entry


def is_spooled(task_id: str) -> bool:
    """Return whether this machine's disk has an entry of a task.

    A disk that cannot be read is logged and counts as empty, so that the caller asks elsewhere.
    """
    try:
        return spool().find(task_id) is not None
    except (OSError, ValueError, ConfigurationError) as error:
        log.warning("spool not read", error=class_name(error))
        return False


def spool() -> Spool:
    """Return the spool of this process's database.

    Raises:
        ConfigurationError: the environment names no usable database or folder.

    """
    wanted = settings.dead_letters_from(os.environ)
    url = settings.connections_from(os.environ).database_url
    return Spool(folder_for(wanted.spool, url), limit_bytes=wanted.spool_limit_bytes)


def _log(
    event: str, error: Exception, *, task_name: str | None, task_id: str, **more: object
) -> None:
    # No traceback and no message: both can quote the row.
    log.error(
        event,
        error=class_name(error),
        sqlstate=table.sqlstate(error),
        task_name=task_name,
        task_id=task_id,
        **more,
    )
