"""Write dead-letter rows into `worker_failed_jobs`, and record there how a replay ended.

A row is inserted with its tenant's GUC, or without one. An existing row of the task stays as it is.
RETURNING and ON CONFLICT cannot be used: both demand that the row be visible, and a row without a
tenant is visible to no tenant. So a savepoint undoes a refused second insert.

The worker's role cannot update rows; a function of the database records that a replay ended.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import asdict
from datetime import timedelta

from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from system import settings
from system.connections import database
from system.dead_letters.row import DeadLetter
from system.dead_letters.storage.entry import Entry, Settlement
from system.identity import Identity

# SQLSTATE class 54, for example a row that is too large for its index.
PROGRAM_LIMITS = "54"
BACK_OFF = timedelta(minutes=1)
"""How long a row waits after its first failed replay; doubled by each further one."""
LONGEST_BACK_OFF = timedelta(days=1)

_UNIQUE_VIOLATION = "23505"

_INSERT = text(
    """
    INSERT INTO worker_failed_jobs (
        id, task_id, task_name, queue, tenant_id, args, kwargs, exception_class, error_message,
        traceback, error_kind, correlation_id, failed_at, notes, options, expires_at, sealed,
        replayable
    ) VALUES (
        :id, :task_id, :task_name, :queue, :tenant_id, :args, :kwargs, :exception_class,
        :error_message, :traceback, :error_kind, :correlation_id, :failed_at, :notes, :options,
        :expires_at, :sealed, :replayable
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
        CAST(:row_id AS uuid), :replay_id, :verdict, :exception_class, :error_message,
        :traceback, :error_kind, :base, :longest, :most
    )
    """
)


def write(entry: Entry) -> None:
    """Write an entry in a transaction of its own.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database refused it.

    """
    with database.transaction() as connection:
        put(connection, entry)


def put(connection: Connection, entry: Entry) -> None:
    """Write an entry in an open transaction without a tenant, which survives a refusal.

    Existing rows stay as they are. A failed replay whose row is gone, or belongs to another replay
    by now, leaves a row of its own.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database refused it.

    """
    if isinstance(entry, DeadLetter):
        _insert(connection, entry)
    elif not settle(connection, entry) and entry.failure is not None:
        _insert(connection, entry.failure)


def settle(connection: Connection, settlement: Settlement) -> bool:
    """Record in a row how its replay ended; return whether the row knows that replay."""
    failure = settlement.failure
    values = {
        "row_id": settlement.row_id,
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


def has_row(identity: Identity) -> bool:
    """Return whether the table has a row of a task; always False for a task without a tenant.

    No session of the worker's role sees a row without a tenant.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.

    """
    if identity.tenant_id is None:
        return False
    with database.transaction() as connection:
        database.set_tenant(connection, identity.tenant_id)
        return bool(connection.execute(_EXISTS, {"task_id": identity.task_id}).scalar_one())


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error, if it has one."""
    return getattr(getattr(error, "orig", None), "pgcode", None)


def is_refused(error: DBAPIError) -> bool:
    """Return whether PostgreSQL will refuse the same values at every further attempt."""
    code = sqlstate(error) or ""
    return isinstance(error, DataError | IntegrityError) or code.startswith(PROGRAM_LIMITS)


def _insert(connection: Connection, row: DeadLetter) -> None:
    identity = row.identity
    values = asdict(row) | {
        "id": uuid.uuid4(),
        "task_id": identity.task_id,
        "task_name": identity.task_name,
        "tenant_id": identity.tenant_id,
        "correlation_id": identity.correlation_id,
    }
    del values["identity"]
    savepoint = connection.begin_nested()
    try:
        # The parent reports a failure when a child is killed after it stored a success.
        if connection.execute(_SUCCEEDED, {"task_id": identity.task_id}).scalar_one():
            savepoint.commit()
            return
        # For this row alone: the next one in this transaction may be another tenant's.
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
