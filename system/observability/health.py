"""Check broker, database and the worker's own consumer, at the time of each request.

Owns the checks and their deadline; `consumer` judges what the third one finds. Each check queries
its dependency in a thread, for which the answer waits no longer than the deadline. There is at most
one thread for each check, however many requests there are, so that none leaks. The thread cannot
hang either: it talks to PostgreSQL without blocking and closes the connection at its limit, so that
a dead connection does not count as an unhealthy database for ever.

`ok` means that the dependency accepted a new connection and answered a query on it during the
request, within the waiting share of the deadline: a slower dependency does not serve tasks either.
For the consumer `ok` means that the broker answered how long messages wait, and that the worker is
not stalled.
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
from typing import Any

import psycopg2
import structlog
from kombu import Connection
from psycopg2.extensions import POLL_OK, POLL_READ
from sqlalchemy.engine import make_url

from system.connections.fork import keep_from_children
from system.observability.consumer import Consumer
from system.settings import Connections, is_postgresql
from system.transport import statements

OK, ERROR = "ok", "error"
# The rest of the deadline is for sending the answer, even on a busy machine.
_WAITING_SHARE = 0.8

log = structlog.get_logger("system.health")


class Check:
    """Checks one dependency, in at most one thread at a time."""

    def __init__(self, name: str, ask: Callable[[], object]) -> None:
        self.name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._asked: Future[bool] | None = None

    async def answers(self, end: float) -> bool:
        """Return whether the dependency answers before `end`, a monotonic time.

        A running query is joined. If it fails, the failure may be older than this request, so that
        another query follows.
        """
        asked, is_joined = self._begin()
        healthy = await _result_of(asked, end)
        if is_joined and healthy is False:
            healthy = await _result_of(self._begin()[0], end)
        return healthy is True

    def _begin(self) -> tuple[Future[bool], bool]:
        """Return the running query, or start one; and whether it was running."""
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
        except Exception as error:  # noqa: BLE001 (a dependency can fail in any way)
            log.warning("health check failed", part=self.name, error=_brief(error))
        finally:
            asked.set_result(healthy)


class Health:
    """Runs all checks under one deadline."""

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


def health_of(
    connections: Connections, deadline_s: float, consumer: Consumer, trusted: int
) -> Health:
    """Return the health of a worker's broker, database and consumer.

    Args:
        connections: the URLs; the broker is checked through its own.
        deadline_s: seconds until the answer.
        consumer: the worker's own.
        trusted: the number of deliveries up to which the transport claims messages together.

    """
    if is_postgresql(connections.broker_url):
        limit_s = deadline_s * _WAITING_SHARE
        broker_url = connections.broker_url.partition("+")[2]

        def ask_consumer() -> None:
            waits = query(broker_url, statements.WAITS, limit_s, {"trusted": trusted})
            consumer.expect_progress(dict(waits))
    else:
        ask_consumer = partial(consumer.expect_progress, {})

    checks = checks_of(connections, deadline_s)
    return Health((*checks, Check("consumer", ask_consumer)), deadline_s)


def checks_of(connections: Connections, deadline_s: float) -> tuple[Check, Check]:
    """Return the checks of broker and database, each through its own URL."""
    limit_s = deadline_s * _WAITING_SHARE
    ask_broker: Callable[[], object] = partial(_connect, connections.broker_url)
    if is_postgresql(connections.broker_url):
        broker_url = connections.broker_url.partition("+")[2]
        ask_broker = partial(query, broker_url, "SELECT 1 FROM kombu_queue LIMIT 1", limit_s)
    ask_database = partial(query, connections.database_url, "SELECT 1", limit_s)
    return Check("broker", ask_broker), Check("database", ask_database)


def query(url: str, statement: str, limit_s: float, values: Any = None) -> list[Any]:
    """Run one statement on a new connection, and return its rows.

    Args:
        url: SQLAlchemy URL for psycopg2.
        statement: one that returns rows.
        limit_s: seconds in total, except for the look-up of the host's name.
        values: the statement's parameters.

    Raises:
        psycopg2.Error: the server refused it.
        TimeoutError: the limit has passed.

    """
    end = time.monotonic() + limit_s
    parsed = make_url(url)
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    arguments["application_name"] = "system-health"
    with closing(keep_from_children(psycopg2.connect(**arguments, async_=True))) as connection:
        _wait(connection, end)
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            _wait(connection, end)
            return list(cursor.fetchall())


def _wait(connection: psycopg2.extensions.connection, end: float) -> None:
    """Wait until a pending operation of a connection is done. Source: psycopg2, "wait_select"."""
    while (state := connection.poll()) != POLL_OK:
        waited = [connection.fileno()]
        reads, writes = (waited, []) if state == POLL_READ else ([], waited)
        if not any(select.select(reads, writes, [], max(0.0, end - time.monotonic()))):
            raise TimeoutError("got no answer in time")


async def _result_of(asked: Future[bool], end: float) -> bool | None:
    """Return the result of a query; None if it is still running at `end`."""
    waited = asyncio.wrap_future(asked)
    done, _ = await asyncio.wait({waited}, timeout=max(0.0, end - time.monotonic()))
    return waited.result() if done else None


def _connect(broker_url: str) -> None:
    with Connection(broker_url, connect_timeout=1) as connection:
        connection.connect()


def _brief(error: Exception) -> str:
    return f"{type(error).__qualname__}: {str(error).strip().splitlines()[:1]}"
