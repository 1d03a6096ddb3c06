"""The database of the helpdesk: connections, and transactions of one workspace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

URL = "HELPDESK_DB"
"""The variable with the address of the database."""
CONNECT_S = 2
"""How long to wait for a connection, in seconds: an agent at the telephone waits no longer."""


@cache
def engine() -> Engine:
    """Return the engine, which connects at each use and keeps no connection open."""
    limits = {"connect_timeout": CONNECT_S}
    return create_engine(os.environ[URL], poolclass=NullPool, connect_args=limits)


def answers() -> bool:
    """Return whether the database answers."""
    try:
        with engine().connect() as connection:
            return connection.scalar(text("SELECT true")) is True
    except SQLAlchemyError:
        return False


@contextmanager
def workspace(name: str) -> Iterator[Connection]:
    """Open a transaction that sees the rows of one workspace only."""
    with engine().begin() as connection:
        connection.execute(
            text("SELECT set_config('helpdesk.workspace', :name, true)"), {"name": name}
        )
        yield connection
