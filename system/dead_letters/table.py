"""The writing of dead letters into `worker_failed_jobs`, and of how a replay of one ended.

A letter is inserted as its tenant, or as nobody. One that is there already stays as it is: without
RETURNING and ON CONFLICT, since both demand that the row be visible, and one without a tenant is
visible to no tenant. So a refused second insert is undone by a savepoint.

The worker's role cannot move a letter; that a replay ended is told to a function of the database.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from system import settings
from system.connections import database
from system.dead_letters.row import DeadLetter
from system.identity import Identity

# SQLSTATE class 54: a row that is too large for its index.
PROGRAM_LIMITS = "54"
BACK_OFF = timedelta(minutes=1)
"""Until a letter is due again after its first replay failed; doubled by each further one."""
LONGEST_BACK_OFF = timedelta(days=1)

_UNIQUE_VIOLATION = "23505"

_INSERT = text(
    """
    INSERT INTO worker_failed_jobs (
        id, task_id, task_name, queue, tenant_id, args, kwargs, exception_class, error_message,
        traceback, error_kind, correlation_id, failed_at, notes, sealed, replayable
    ) VALUES (
        :id, :task_id, :task_name, :queue, :tenant_id, :args, :kwargs, :exception_class,
        :error_message, :traceback, :error_kind, :correlation_id, :failed_at, :notes, :sealed,
        :replayable
    )
    """
)
_EXISTS = text("SELECT EXISTS (SELECT FROM worker_failed_jobs WHERE task_id = :task_id)")
_SUCCEEDED = text(
    "SELECT EXISTS (SELECT FROM celery_taskmeta WHERE task_id = :task_id AND status = 'SUCCESS')"
)
_SETTLE = text(
    """
    SELECT settle_dead_letter(
        CAST(:letter_id AS uuid), :replay_id, :verdict, :exception_class, :error_message,
        :traceback, :error_kind, :base, :longest, :most
    )
    """
)


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """How the replay of a letter ended."""

    letter_id: str
    """Canonical UUID."""
    replay_id: str
    """The task's id; only the letter's current replay settles it."""
    verdict: str
    """`succeeded`, `failed` or `not sent`."""
    failure: DeadLetter | None = None
    """What the failure would leave as a letter of its own."""


Entry = DeadLetter | Settlement
"""What is written about the end of a task."""


def write(entry: Entry) -> None:
    """Write in a transaction of its own.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database did not take it.

    """
    with database.transaction() as connection:
        put(connection, entry)


def put(connection: Connection, entry: Entry) -> None:
    """Write in an open transaction without a tenant, which goes on also when this is refused.

    What was written before is left as it is. A failure whose letter does not know this replay (it
    was deleted, or given to another replay meanwhile) is a letter of its own.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database did not take it.

    """
    if isinstance(entry, DeadLetter):
        _insert(connection, entry)
    elif not settle(connection, entry) and entry.failure is not None:
        _insert(connection, entry.failure)


def settle(connection: Connection, settlement: Settlement) -> bool:
    """Tell a letter how its replay ended; return whether it knows that replay."""
    failure = settlement.failure
    values = {
        "letter_id": settlement.letter_id,
        "replay_id": settlement.replay_id,
        "verdict": settlement.verdict,
        "exception_class": failure and failure.exception_class,
        "error_message": failure and failure.error_message,
        "traceback": failure and failure.traceback,
        "error_kind": failure and failure.error_kind,
        "base": BACK_OFF,
        "longest": LONGEST_BACK_OFF,
        "most": settings.dead_letters_from(os.environ).most_replays,
    }
    savepoint = connection.begin_nested()
    try:
        known = bool(connection.execute(_SETTLE, values).scalar_one())
    except DBAPIError as error:
        if not error.connection_invalidated:
            savepoint.rollback()
        raise
    savepoint.commit()
    return known


def has_letter(identity: Identity) -> bool:
    """Say whether the table has a letter of a task.

    One without a tenant is not looked for: nobody's session sees it.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.

    """
    if identity.tenant_id is None:
        return False
    with database.transaction() as connection:
        database.set_tenant(connection, identity.tenant_id)
        return bool(connection.execute(_EXISTS, {"task_id": identity.task_id}).scalar_one())


def to_record(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON can hold it."""
    record = asdict(entry)
    letter = record.get("failure") if isinstance(entry, Settlement) else record
    if letter:
        letter["failed_at"] = letter["failed_at"].isoformat()
    return record


def from_record(record: dict[str, Any]) -> Entry:
    """Return the entry that `to_record` was given."""
    if "verdict" not in record:
        return _letter(record)
    failure = record["failure"]
    return Settlement(**record | {"failure": _letter(failure) if failure else None})


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's code of an error, where it has one."""
    return getattr(getattr(error, "orig", None), "pgcode", None)


def is_refused(error: DBAPIError) -> bool:
    """Say whether PostgreSQL will never take what it was given, whenever that is tried again."""
    code = sqlstate(error) or ""
    return isinstance(error, DataError | IntegrityError) or code.startswith(PROGRAM_LIMITS)


def _insert(connection: Connection, letter: DeadLetter) -> None:
    identity = letter.identity
    values = asdict(letter) | {
        "id": uuid.uuid4(),
        "task_id": identity.task_id,
        "task_name": identity.task_name,
        "tenant_id": identity.tenant_id,
        "correlation_id": identity.correlation_id,
    }
    del values["identity"]
    savepoint = connection.begin_nested()
    try:
        # A child that is killed after its success was stored is a failure to its parent alone.
        if connection.execute(_SUCCEEDED, {"task_id": identity.task_id}).scalar_one():
            savepoint.commit()
            return
        # For this letter alone: the next one in this transaction may be another tenant's.
        database.set_tenant(connection, identity.tenant_id)
        connection.execute(_INSERT, values)
    except IntegrityError as error:
        savepoint.rollback()
        if sqlstate(error) != _UNIQUE_VIOLATION:
            raise
    except DBAPIError as error:
        if not error.connection_invalidated:
            savepoint.rollback()
        raise
    else:
        database.set_tenant(connection, None)
        savepoint.commit()


def _letter(record: dict[str, Any]) -> DeadLetter:
    return DeadLetter(
        **record
        | {
            "identity": Identity(**record["identity"]),
            "failed_at": datetime.fromisoformat(record["failed_at"]),
        }
    )
