"""The writing of dead letters into `worker_failed_jobs`.

A letter is inserted as its tenant, or as nobody. One that is there already stays as it is: without
RETURNING and ON CONFLICT, since both demand that the row be visible, and one without a tenant is
visible to no tenant. So a refused second insert is undone by a savepoint.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from system import database
from system.dead_letters.letter import DeadLetter

_UNIQUE_VIOLATION = "23505"

_INSERT = text(
    """
    INSERT INTO worker_failed_jobs (
        id, task_id, task_name, queue, tenant_id, args, kwargs, exception_class, error_message,
        traceback, error_kind, correlation_id, failed_at, notes
    ) VALUES (
        :id, :task_id, :task_name, :queue, :tenant_id, :args, :kwargs, :exception_class,
        :error_message, :traceback, :error_kind, :correlation_id, :failed_at, :notes
    )
    """
)


def write(letter: DeadLetter) -> None:
    """Insert one letter in a transaction of its own; one that is there already stays as it is.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database did not take it.

    """
    with database.transaction() as connection:
        insert(connection, letter)


def insert(connection: Connection, letter: DeadLetter) -> None:
    """Insert one letter in an open transaction, which goes on also when it is refused.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database did not take it.

    """
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


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's code of an error, where it has one."""
    return getattr(getattr(error, "orig", None), "pgcode", None)
