"""Handles for the databases, worker processes and clients that the tests of the system use.

Leaves the server to `tests.postgres`, and the fixtures that start and stop things to conftest.py.
Imports nothing of the harness.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg

from system.app import make_app
from system.transport import engines
from tests.postgres import Server

ROOT = Path(__file__).resolve().parents[3]
START_DEADLINE_S = 30.0
LINE_WITHIN_S = 45.0
"""Within how long a line appears on a machine with more processes than cores, a start included."""

T = TypeVar("T")


def wait_for(probe: Callable[[], T], *, deadline_s: float = 15.0, pause_s: float = 0.02) -> T:
    """Poll until the answer is true or the deadline has passed, and return the last answer."""
    end = time.monotonic() + deadline_s
    while True:
        answer = probe()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(pause_s)


@dataclass(frozen=True, kw_only=True)
class Database:
    """One database of the server."""

    server: Server
    name: str

    def dsn(self, role: str = "app_user") -> str:
        """Return a URL for a role."""
        return self.server.dsn(self.name, role)

    def connect(self, role: str = "app_user") -> psycopg.Connection[Any]:
        """Connect as a role."""
        return psycopg.connect(self.dsn(role))

    def rows(self, statement: str, *parameters: object, role: str = "postgres") -> list[Any]:
        """Run one statement and return its rows; by default as superuser, who sees every row."""
        with self.connect(role) as connection:
            return connection.execute(statement, parameters).fetchall()

    def migrate(self, command: str, revision: str) -> subprocess.CompletedProcess[str]:
        """Run Alembic as the migration role, as an operator does."""
        return subprocess.run(
            [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", command, revision],
            cwd=ROOT,
            env={**clean_environment(), "DATABASE_URL": self.dsn("migrator")},
            capture_output=True,
            text=True,
            check=False,
        )


def clean_environment() -> dict[str, str]:
    """Return this process's environment without any setting of the system."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CELERY_", "DATABASE_URL", "SYSTEM_", "PROMETHEUS_", "PG"))
    }


@dataclass(kw_only=True)
class Worker:
    """A worker process and its output."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path

    @property
    def url(self) -> str:
        """The base URL of its endpoints."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, method: str = "GET") -> httpx.Response:
        """Send one request to its endpoints."""
        return httpx.request(method, self.url + path, timeout=10)

    def total(self, family: str, task_name: str) -> float:
        """Return one sample of `/metrics`."""
        for line in self.ask("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == f'{family}{{task_name="{task_name}"}}':
                return float(value)
        raise AssertionError(f"no sample {family} for {task_name}")

    def text(self) -> str:
        """Return everything on standard output and error so far."""
        return self.output.read_text(encoding="utf-8")

    def lines(self, message: str | None = None) -> list[dict[str, Any]]:
        """Return its complete lines, parsed; only those with a message if one is given."""
        complete = self.text().rpartition("\n")[0].splitlines()
        parsed = [json.loads(line) for line in complete]
        return [line for line in parsed if message in {None, line["message"]}]

    def wait_for_line(self, message: str, **fields: object) -> dict[str, Any]:
        """Wait for a line with this message and these fields."""

        def find() -> dict[str, Any] | None:
            for line in self.lines(message):
                if fields.items() <= line.items():
                    return line
            return None

        found = wait_for(find, deadline_s=LINE_WITHIN_S)
        assert found is not None, f"no line {message!r} with {fields} in:\n{self.text()}"
        return found

    def stop(self, sent: signal.Signals = signal.SIGTERM, *, deadline_s: float = 15) -> int:
        """Send a signal, wait for the exit, and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sent)
        return self.process.wait(deadline_s)


StartWorker = Callable[..., Worker]


class Client:
    """A publisher to one database's broker that also reads the results."""

    def __init__(self, database: Database) -> None:
        self.app = make_app({"DATABASE_URL": database.dsn("app_user")})

    def publish(
        self,
        name: str,
        kwargs: dict[str, Any],
        *,
        correlation_id: str | None = None,
        eta: datetime | None = None,
    ) -> str:
        """Publish one task and return its id."""
        headers = {"correlation_id": correlation_id} if correlation_id else {}
        return str(self.app.send_task(name, kwargs=kwargs, headers=headers, eta=eta).id)

    def wait(self, task_id: str) -> Any:
        """Wait for a task's result."""
        return self.app.AsyncResult(task_id).get(timeout=30, interval=0.02)

    def send(self, name: str, kwargs: dict[str, Any], **options: Any) -> str:
        """Publish one task with Celery's own options, and return its id."""
        return str(self.app.send_task(name, kwargs=kwargs, **options).id)

    def send_raw(self, *, body: bytes, queue: str, headers: dict[str, Any], **options: Any) -> None:
        """Publish a raw message, which a Celery client cannot send."""
        exchange = self.app.amqp.queues[queue].exchange
        with self.app.producer_pool.acquire(block=True) as producer:
            producer.publish(
                body, exchange=exchange, headers=headers, content_encoding="binary", **options
            )

    def run_with_id(self, name: str, **kwargs: Any) -> tuple[str, Any]:
        """Publish one task, wait for its result, and return its id and the result."""
        task_id = self.publish(name, kwargs)
        return task_id, self.app.AsyncResult(task_id).get(timeout=20, interval=0.02)

    def run(self, name: str, **kwargs: Any) -> Any:
        """Publish one task, wait for its result, and return it."""
        return self.run_with_id(name, **kwargs)[1]

    def run_many(self, name: str, count: int, **kwargs: Any) -> list[Any]:
        """Publish several tasks at once, wait for their results, and return them."""
        ids = [self.publish(name, kwargs) for _ in range(count)]
        return [self.app.AsyncResult(task_id).get(timeout=20, interval=0.02) for task_id in ids]

    def fail(self, name: str, **kwargs: Any) -> tuple[str, str]:
        """Publish one task that must fail, and return its id and its error."""
        task_id = self.publish(name, kwargs)
        result = self.app.AsyncResult(task_id)
        error = result.get(timeout=20, interval=0.02, propagate=False)
        assert result.state == "FAILURE"
        return task_id, f"{type(error).__name__}: {error}"

    def close(self) -> None:
        """Close every connection."""
        backend: Any = self.app.backend
        backend.session_manager.invalidate(backend.url)
        self.app.close()
        engines.close_engines()


@contextmanager
def make_client(database: Database) -> Iterator[Client]:
    """Yield a client of a database, and close it afterwards."""
    made = Client(database)
    try:
        yield made
    finally:
        made.close()


def run_command(
    database: Database, *words: str, role: str = "app_rw", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the operators' command."""
    return subprocess.run(
        [sys.executable, "-m", "system.dead_letters", *words],
        cwd=ROOT,
        env={**clean_environment(), "DATABASE_URL": database.dsn(role), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
