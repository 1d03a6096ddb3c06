"""Health: whether broker and database answer, asked anew at every request.

Owns the two checks and their deadline. Each check asks in a thread that the answer does not wait
for beyond the deadline; there is never more than one a check, however often health is asked for,
and so no leak. Nor does that thread hang: it talks to PostgreSQL without blocking and lets go of
the connection in the end, so that one whose other side is gone for good does not stand for the
database ever after.

`ok` says that the dependency took a new connection and answered a query on it while the request
for health was there, within the waiting share of its deadline: one that takes longer is no help to
a task either.
"""

from __future__ import annotations

import asyncio
import select
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from functools import partial

import psycopg2
import structlog
from kombu import Connection
from psycopg2.extensions import POLL_OK, POLL_READ
from sqlalchemy.engine import make_url

from system.connections.fork import keep_from_children
from system.settings import Connections, is_postgresql

OK, ERROR = "ok", "error"
# What is left of the deadline is for sending the answer, on a busy machine too.
_WAITING_SHARE = 0.8

log = structlog.get_logger("system.health")


class Check:
    """One dependency, asked by at most one thread at a time."""

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self.name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._asked: Future[bool] | None = None

    async def answers(self, end: float) -> bool:
        """Return whether the dependency answers, by a time of the monotonic clock.

        An asking that is under way is joined. If it fails, that may be older than this request,
        so the dependency is asked once more.
        """
        asked, is_joined = self._begin()
        healthy = await _landed(asked, end)
        if is_joined and healthy is False:
            healthy = await _landed(self._begin()[0], end)
        return healthy is True

    def _begin(self) -> tuple[Future[bool], bool]:
        """Return the asking that is under way, or a new one, and whether it was under way."""
        with self._lock:
            if self._asked is not None and not self._asked.done():
                return self._asked, True
            self._asked = Future()
            threading.Thread(
                target=self._run, args=(self._asked,), name=f"health-{self.name}", daemon=True
            ).start()
            return self._asked, False

    def _run(self, asked: Future[bool]) -> None:
        healthy = False
        try:
            self._ask()
            healthy = True
        except Exception as error:  # noqa: BLE001 (whatever stops the dependency from answering)
            log.warning("health check failed", part=self.name, error=_brief(error))
        finally:
            asked.set_result(healthy)


class Health:
    """Both checks under one deadline."""

    def __init__(self, checks: tuple[Check, ...], deadline_s: float) -> None:
        self._checks = checks
        self._deadline_s = deadline_s

    async def ask(self) -> dict[str, str]:
        """Return `status` (`ok` or `unhealthy`) and, for each check, `ok` or `error`."""
        end = time.monotonic() + self._deadline_s * _WAITING_SHARE
        answers = await asyncio.gather(*(check.answers(end) for check in self._checks))
        asked = zip(self._checks, answers, strict=True)
        parts = {check.name: OK if healthy else ERROR for check, healthy in asked}
        status = OK if set(parts.values()) == {OK} else "unhealthy"
        return {"status": status, **parts}


def health_of(connections: Connections, deadline_s: float) -> Health:
    """Return the health of a worker's broker and database.

    Args:
        connections: where they are; the broker is asked through its own URL.
        deadline_s: seconds within which an answer is given.

    """
    limit_s = deadline_s * _WAITING_SHARE
    if is_postgresql(connections.broker_url):
        broker_url = connections.broker_url.partition("+")[2]
        ask_broker = partial(query, broker_url, "SELECT 1 FROM kombu_queue LIMIT 1", limit_s)
    else:
        ask_broker = partial(_connect, connections.broker_url)
    ask_database = partial(query, connections.database_url, "SELECT 1", limit_s)
    return Health((Check("broker", ask_broker), Check("database", ask_database)), deadline_s)


def query(url: str, statement: str, limit_s: float) -> None:
    """Run one statement on a connection of its own.

    Args:
        url: SQLAlchemy URL for psycopg2.
        statement: without parameters.
        limit_s: seconds for all of it, the look-up of the host's name excepted.

    Raises:
        psycopg2.Error: it was refused.
        TimeoutError: the limit passed.

    """
    end = time.monotonic() + limit_s
    parsed = make_url(url)
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    arguments["application_name"] = "system-health"
    with closing(keep_from_children(psycopg2.connect(**arguments, async_=True))) as connection:
        _wait(connection, end)
        with connection.cursor() as cursor:
            cursor.execute(statement)
            _wait(connection, end)


def _wait(connection: psycopg2.extensions.connection, end: float) -> None:
    """Wait until what was begun on a connection is done. Source: psycopg2, "wait_select"."""
    while (state := connection.poll()) != POLL_OK:
        waited = [connection.fileno()]
        reads, writes = (waited, []) if state == POLL_READ else ([], waited)
        if not any(select.select(reads, writes, [], max(0.0, end - time.monotonic()))):
            raise TimeoutError("got no answer in time")


async def _landed(asked: Future[bool], end: float) -> bool | None:
    """Return how an asking ended; None if it has not by then, and goes on."""
    waited = asyncio.wrap_future(asked)
    done, _ = await asyncio.wait({waited}, timeout=max(0.0, end - time.monotonic()))
    return waited.result() if done else None


def _connect(broker_url: str) -> None:
    with Connection(broker_url, connect_timeout=1) as connection:
        connection.connect()


def _brief(error: Exception) -> str:
    return f"{type(error).__qualname__}: {str(error).strip().splitlines()[:1]}"
