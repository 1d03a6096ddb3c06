"""Connections to the system's database: one small pool for tasks in each process.

Owns engines and the tenant GUC; leaves what a tenant may see to the policies of the database. The
GUC is set for the transaction only: a session's would survive the return to the pool. Engines are
made on first use and thrown away after a fork: a socket that two processes share breaks both.
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
# A server that is cut off shows within about ten seconds, on both sides of a connection: one that
# is quiet by keepalives, one that waits for an acknowledgement of what it sent by the limit for
# that, since then no keepalives are sent. Source: tcp(7), TCP_USER_TIMEOUT.
KEEPALIVES: dict[str, str | int] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


@cache
def task_engine() -> Engine:
    """Return this process's engine for tasks and dead letters.

    One pooled connection, so that a process keeps its backend; the overflow serves a pool of
    threads, however many, and the dead letter of a task that still holds the first. Parameters are
    hidden from errors: they reach logs, results and dead letters.

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


@contextmanager
def transaction(tenant_id: UUID | None = None) -> Iterator[Connection]:
    """Open a transaction, as a tenant's if one is given; commit at its end, roll back on error.

    Args:
        tenant_id: goes into the GUC `app.current_tenant_id` of this transaction alone.

    """
    with task_engine().begin() as connection:
        if tenant_id is not None:
            set_tenant(connection, str(tenant_id))
        yield connection


def set_tenant(connection: Connection, tenant_id: str | None) -> None:
    """Make an open transaction a tenant's from here on, or nobody's."""
    connection.execute(
        text("SELECT set_config(:guc, :tenant_id, true)"),
        {"guc": TENANT_GUC, "tenant_id": tenant_id or ""},
    )


def connect_args(application_name: str) -> dict[str, str | int]:
    """Return libpq's arguments for a connection that `pg_stat_activity` shows under a name."""
    return {
        "application_name": application_name,
        "connect_timeout": CONNECT_TIMEOUT_S,
        **KEEPALIVES,
    }


@event.listens_for(Engine, "connect")
def _keep_from_children(connection: psycopg2.extensions.connection, _record: object) -> None:
    """Keep every connection of every engine from the children that are forked."""
    keep_from_children(connection)


def _drop_inherited_engine() -> None:
    """Drop the engine of the parent process, without touching the parent's sockets."""
    if task_engine.cache_info().currsize:
        task_engine().dispose(close=False)
        task_engine.cache_clear()


run_in_children(_drop_inherited_engine)
