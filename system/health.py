"""Health: whether broker and database answer, asked anew at every request.

Owns the two checks and their deadline. A database that hangs cannot be hurried, so each check runs
in a thread that the answer does not wait for beyond the deadline; there is never more than one a
check, however often it is asked, and so no leak.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog
from kombu import Connection
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from system.settings import Connections, is_postgresql

OK, ERROR = "ok", "error"
# What is left of the deadline is for sending the answer, on a busy machine too.
_WAITING_SHARE = 0.8

log = structlog.get_logger("system.health")


@dataclass(kw_only=True)
class _Flight:
    ended: threading.Event = field(default_factory=threading.Event)
    healthy: bool = False


class Check:
    """One dependency, asked by at most one thread at a time."""

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self.name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._flight: _Flight | None = None

    def begin(self) -> _Flight:
        """Ask, or join the asking that is still under way."""
        with self._lock:
            if self._flight is None or self._flight.ended.is_set():
                self._flight = _Flight()
                threading.Thread(
                    target=self._fly, args=(self._flight,), name=f"health-{self.name}", daemon=True
                ).start()
            return self._flight

    def _fly(self, flight: _Flight) -> None:
        try:
            self._ask()
            flight.healthy = True
        except Exception as error:  # noqa: BLE001 (whatever stops the dependency from answering)
            log.warning("health check failed", part=self.name, error=_brief(error))
        finally:
            flight.ended.set()


class Health:
    """Both checks under one deadline."""

    def __init__(self, checks: tuple[Check, ...], deadline_s: float) -> None:
        self._checks = checks
        self._deadline_s = deadline_s

    def ask(self) -> dict[str, str]:
        """Return `status` (`ok` or `unhealthy`) and, for each check, `ok` or `error`."""
        end = time.monotonic() + self._deadline_s * _WAITING_SHARE
        flights = {check.name: check.begin() for check in self._checks}
        parts = {}
        for name, flight in flights.items():
            flight.ended.wait(max(0.0, end - time.monotonic()))
            parts[name] = OK if flight.ended.is_set() and flight.healthy else ERROR
        status = OK if set(parts.values()) == {OK} else "unhealthy"
        return {"status": status, **parts}


def health_of(connections: Connections, deadline_s: float) -> Health:
    """Return the health of a worker's broker and database.

    Args:
        connections: where they are; the broker is asked through its own URL.
        deadline_s: seconds within which an answer is given.

    """
    if is_postgresql(connections.broker_url):
        broker_url = connections.broker_url.partition("+")[2]
        ask_broker = partial(_query, broker_url, "SELECT 1 FROM kombu_queue LIMIT 1", deadline_s)
    else:
        ask_broker = partial(_connect, connections.broker_url)
    ask_database = partial(_query, connections.database_url, "SELECT 1", deadline_s)
    return Health((Check("broker", ask_broker), Check("database", ask_database)), deadline_s)


def _query(url: str, statement: str, deadline_s: float) -> None:
    engine = create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={
            "application_name": "system-health",
            "connect_timeout": math.ceil(deadline_s),
            "tcp_user_timeout": math.ceil(deadline_s * 1000),
        },
    )
    with engine.connect() as connection:
        connection.execute(text(statement))


def _connect(broker_url: str) -> None:
    with Connection(broker_url, connect_timeout=1) as connection:
        connection.connect()


def _brief(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__qualname__}: {str(cause).strip().splitlines()[:1]}"
