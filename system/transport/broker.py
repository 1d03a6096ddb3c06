"""The broker: kombu's SQLAlchemy transport on tables that a migration made.

Owns the engine of each process and the declaration of queues; claiming and storing messages is
stock kombu's. Source: kombu/transport/sqlalchemy, facts of the package's docstring.
"""

from __future__ import annotations

import threading
import time
import warnings
from queue import Empty
from typing import Any

from kombu.transport import sqlalchemy as stock
from kombu.transport.sqlalchemy.models import ModelBase
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.orm import sessionmaker

from system.database import connect_args

POLLING_INTERVAL_S = 0.05
TICK_S = 0.01
# How long one look may deliver before the loop gets to see signals and results again.
LONGEST_LOOK_S = 0.05
APPLICATION_NAME = "system-broker"

_WAITING = text(
    "SELECT EXISTS (SELECT FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id"
    " WHERE m.visible AND q.name = ANY(:names))"
)
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
                _configure_models()
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

    def something_waits(self) -> bool:
        """Say whether any queue that this channel consumes has a message: one cheap statement.

        Stock kombu asks each queue for its next message, which is four statements a queue.
        """
        names = list(self._active_queues)
        if not names or not self.qos.can_consume():
            return False
        found = self.session.execute(_WAITING, {"names": names}).scalar_one()
        self.session.commit()
        return bool(found)

    def _find(self, queue: str) -> Any:
        return self.session.query(self.queue_cls).filter(self.queue_cls.name == queue).first()


class Transport(stock.Transport):
    """The transport behind `sqla+postgresql://`, for workers with an event loop too.

    The stock one has none, and then Celery's prefork pool gives all children one queue behind one
    lock, which an idle child holds while it waits: kill that child, and no other ever gets a task
    again. With an event loop each child has a pipe of its own.
    """

    Channel = Channel
    polling_interval = POLLING_INTERVAL_S
    implements = stock.Transport.implements.extend(asynchronous=True)
    # A server that goes away shows in any of the three, by what the session was doing.
    connection_errors = (  # type: ignore[assignment]  # the stubs name the first one only
        OperationalError,
        InterfaceError,
        PendingRollbackError,
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self._next_look = 0.0

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ARG002 (base)
        """Look for messages from a worker's event loop, which ends this with the connection."""
        loop.call_repeatedly(TICK_S, self._tick)

    def _tick(self) -> None:
        """Look at once while there is more to come, else every polling interval."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + POLLING_INTERVAL_S
        if self._look(until=now + LONGEST_LOOK_S) or self._is_full():
            self._next_look = now

    def _look(self, *, until: float) -> bool:
        """Deliver what waits, as far as the worker takes it; say whether there was anything."""
        delivered = False
        cycle: Any = self.cycle
        channels: Any = self.channels
        if not any(channel.something_waits() for channel in channels):
            return delivered
        while time.monotonic() < until:
            try:
                cycle.get(self._deliver)
            except Empty:
                break
            delivered = True
        return delivered

    def _is_full(self) -> bool:
        """Say whether a channel takes no more for now: it may as soon as a task has ended."""
        return any(not channel.qos.can_consume() for channel in self.channels or ())


def forget_engines() -> None:
    """Drop the engines that this process inherited, without touching the parent's sockets."""
    for engine, _ in _ENGINES.values():
        engine.dispose(close=False)
    _ENGINES.clear()


def _configure_models() -> None:
    """Configure kombu's models, whose one deprecated option SQLAlchemy 2.1 would warn about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy")
        ModelBase.registry.configure()


def _engine(url: str) -> Engine:
    return create_engine(
        url,
        pool_size=1,
        max_overflow=4,
        # Not tested before use, which would double the statements of an idle worker: Celery
        # reconnects a consumer and retries a publication that meets a lost connection.
        pool_pre_ping=False,
        hide_parameters=True,
        connect_args=connect_args(APPLICATION_NAME),
    )
