"""Publish in a transaction of the caller: the message is committed with its rows, or neither is.

Broker and rows are in one database, so the message is inserted on the caller's own connection. Only
a message is: queues are declared by the transport's connection, and stay if the caller rolls back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url

from system.errors import ConfigurationError

_JOINED: ContextVar[Connection | None] = ContextVar("system.transport.joined", default=None)


@contextmanager
def publishing_in(connection: Connection) -> Iterator[None]:
    """Store the messages that this thread publishes in an open transaction.

    Publish with `retry=False`: an aborted transaction refuses a second attempt, and hides the first
    error.
    """
    token = _JOINED.set(connection)
    try:
        yield
    finally:
        _JOINED.reset(token)


def joined_to(url: str) -> Connection | None:
    """Return the transaction in which a broker's messages are stored; None for one of their own.

    Args:
        url: the broker's SQLAlchemy URL.

    Raises:
        ConfigurationError: the transaction is one of another database.

    """
    connection = _JOINED.get()
    if connection is not None and not is_same_database(connection.engine.url, make_url(url)):
        raise ConfigurationError(
            "broker: got another database than that of the transaction, expected the same; "
            "leave CELERY_BROKER_URL out"
        )
    return connection


def is_same_database(one: URL, other: URL) -> bool:
    """Return whether two URLs name the same database, whatever user connects to it."""
    return _place(one) == _place(other)


def _place(url: URL) -> tuple[object, ...]:
    # The address can be in the query too: sockets, several hosts.
    given = [str(url.query.get(name, "")) for name in ("host", "hostaddr", "port", "service")]
    return url.host, url.port, url.database, *given
