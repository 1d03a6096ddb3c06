"""Connect tasks to the system's database, with one small pool in each process.

Owns the engine and the tenant GUC; the policies of the database decide what a tenant sees. The GUC
is set for the transaction only: a session's would survive the return to the pool. The engine is
made at first use, and dropped in a forked child.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from uuid import UUID

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, event, text

from system import settings
from system.connections.fork import keep_from_children, run_in_children

TENANT_GUC = "app.current_tenant_id"
CONNECT_TIMEOUT_S = 5
# A lost server is detected within about ten seconds: on an idle connection by keepalives; with data
# that is not acknowledged by the user timeout, since no keepalives are sent then. Source: tcp(7),
# TCP_USER_TIMEOUT.
KEEPALIVES: dict[str, str | int] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


@cache
def task_engine() -> Engine:
    """Return this process's engine for tasks and dead letters.

    One pooled connection, so that a process keeps its backend. The overflow serves a pool of any
    number of threads, and the dead-letter row of a task that still holds the first connection.
    Parameters are hidden from errors, which reach logs, results and dead letters.

    Raises:
        ConfigurationError: `DATABASE_URL` is missing or cannot be read.

    """
    return create_engine(
        settings.connections_from(os.environ).database_url,
        pool_size=1,
        max_overflow=-1,  # (as many as the pool has threads)
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=connect_args("system-tasks"),
    )


def pooled_engine(url: str, application_name: str, *, size: int, wait_s: float) -> Engine:
    """Return a new engine for a process of several threads, with one connection for each.

    Args:
        url: SQLAlchemy URL for psycopg2.
        application_name: the name in `pg_stat_activity`.
        size: the number of threads.
        wait_s: how long a thread waits for a connection.

    Does not test a connection before its use: one that the server closed fails at its first
    statement, and the next attempt gets a new one.

    """
    return create_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=wait_s,
        hide_parameters=True,
        connect_args=connect_args(application_name),
    )


@contextmanager
def transaction(tenant_id: UUID | None = None) -> Iterator[Connection]:
    """Open a transaction, with a tenant's GUC if given; commit at its end, roll back on error.

    Args:
        tenant_id: the value of the GUC `app.current_tenant_id` in this transaction only.

    """
    with task_engine().begin() as connection:
        if tenant_id is not None:
            set_tenant(connection, str(tenant_id))
        yield connection


def set_tenant(connection: Connection, tenant_id: str | None) -> None:
    """Set the tenant GUC of an open transaction, or reset it."""
    connection.execute(
        text("SELECT set_config(:guc, :tenant_id, true)"),
        {"guc": TENANT_GUC, "tenant_id": tenant_id or ""},
    )


def connect_args(application_name: str) -> dict[str, str | int]:
    """Return libpq's arguments for a connection with this name in `pg_stat_activity`."""
    return {
        "application_name": application_name,
        "connect_timeout": CONNECT_TIMEOUT_S,
        **KEEPALIVES,
    }


@event.listens_for(Engine, "connect")
def _keep_from_children(connection: psycopg2.extensions.connection, _record: object) -> None:
    """Redirect every connection of every engine in forked children."""
    keep_from_children(connection)


def _drop_inherited_engine() -> None:
    """Drop the engine of the parent process, without touching the parent's sockets."""
    if task_engine.cache_info().currsize:
        task_engine().dispose(close=False)
        task_engine.cache_clear()


run_in_children(_drop_inherited_engine)
