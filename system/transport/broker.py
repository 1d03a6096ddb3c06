"""The broker: kombu's SQLAlchemy transport on tables that a migration made.

Owns the engine of each process and the declaration of queues; claiming and storing messages is
stock kombu's. Source: kombu/transport/sqlalchemy, facts of the package's docstring.
"""

from __future__ import annotations

import threading
from typing import Any

from kombu.transport import sqlalchemy as stock
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.orm import sessionmaker

from system.database import connect_args

POLLING_INTERVAL_S = 0.05
APPLICATION_NAME = "system-broker"

_DECLARE = text("INSERT INTO kombu_queue (name) VALUES (:name) ON CONFLICT (name) DO NOTHING")

# Apart from the stock class's cache, which is shared with everyone in the process.
_ENGINES: dict[str, tuple[Engine, Any]] = {}
_LOCK = threading.Lock()


class Channel(stock.Channel):
    """A channel whose engine makes no table and whose queues are declared without a race."""

    def _open(self) -> tuple[Engine, Any]:
        client: Any = self.connection.client
        url = str(client.hostname)
        with _LOCK:
            if url not in _ENGINES:
                engine = _engine(url)
                _ENGINES[url] = engine, sessionmaker(bind=engine)
            return _ENGINES[url]

    def _get_or_create(self, queue: str) -> Any:
        found = self._find(queue)
        if found is None:
            self.session.execute(_DECLARE, {"name": queue})
            self.session.commit()
            found = self._find(queue)
        return found

    def _find(self, queue: str) -> Any:
        return self.session.query(self.queue_cls).filter(self.queue_cls.name == queue).first()


class Transport(stock.Transport):
    """The transport behind `sqla+postgresql://`."""

    Channel = Channel
    polling_interval = POLLING_INTERVAL_S
    # A server that goes away shows in any of the three, by what the session was doing.
    connection_errors = (  # type: ignore[assignment]  # the stubs name the first one only
        OperationalError,
        InterfaceError,
        PendingRollbackError,
    )


def forget_engines() -> None:
    """Drop the engines that this process inherited, without touching the parent's sockets."""
    for engine, _ in _ENGINES.values():
        engine.dispose(close=False)
    _ENGINES.clear()


def _engine(url: str) -> Engine:
    return create_engine(
        url,
        pool_size=1,
        max_overflow=4,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=connect_args(APPLICATION_NAME),
    )
