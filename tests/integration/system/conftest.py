"""A real PostgreSQL for the session, a migrated template, and a separate database for each test.

Owns the lifetime of databases and of worker processes. Leaves the server to `tests.postgres`.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import Server, free_port, running_server

from .api import StartApi, starting
from .support import (
    ROOT,
    Database,
    StartWorker,
    Worker,
    clean_environment,
)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Start a PostgreSQL for the session, and remove it with its folder afterwards."""
    with running_server() as started:
        yield started


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """Migrate one database, from which the others are copied."""
    server.create("template_system")
    done = Database(server=server, name="template_system").migrate("upgrade", "heads")
    assert done.returncode == 0, done.stderr
    return "template_system"


@pytest.fixture
def empty(server: Server) -> Iterator[Database]:
    """Yield a provisioned database without a table."""
    yield from _database(server, None)


@pytest.fixture
def database(server: Server, template: str) -> Iterator[Database]:
    """Yield a migrated database."""
    yield from _database(server, template)


@pytest.fixture(scope="module")
def shared(server: Server, template: str) -> Iterator[Database]:
    """Yield a migrated database that the tests of one module share."""
    yield from _database(server, template)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start worker processes, and stop them after the test."""
    yield from _workers(tmp_path)


@pytest.fixture(scope="module")
def start_shared_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWorker]:
    """Start worker processes, and stop them after the module."""
    yield from _workers(tmp_path_factory.mktemp("workers"))


@pytest.fixture
def start_api(tmp_path: Path) -> Iterator[StartApi]:
    """Start services that receive events, and stop them after the test."""
    yield from starting(tmp_path)


@pytest.fixture(scope="module")
def start_shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartApi]:
    """Start services that receive events, and stop them after the module."""
    yield from starting(tmp_path_factory.mktemp("apis"))


def _workers(folder: Path) -> Iterator[StartWorker]:
    started: list[Worker] = []

    def start(
        database: Database, *options: str, ready: bool = True, port: int = 0, **environment: str
    ) -> Worker:
        worker = _spawn(database, folder / f"worker-{len(started)}.log", options, port, environment)
        started.append(worker)
        if ready:
            worker.wait_for_line("worker ready")
        return worker

    try:
        yield start
    finally:
        for worker in started:
            _end(worker)


def _spawn(
    database: Database,
    output: Path,
    options: tuple[str, ...],
    port: int,
    environment: dict[str, str],
) -> Worker:
    port = port or free_port()
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "system.worker", *(options or ("--pool", "solo"))],
            cwd=ROOT,
            env={
                **clean_environment(),
                "DATABASE_URL": database.dsn("app_user"),
                "CELERY_METRICS_PORT": str(port),
                "TMPDIR": str(output.parent),
                "SYSTEM_DEAD_LETTER_SPOOL": str(output.parent / "spool"),
                **environment,
            },
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    return Worker(process=process, port=port, output=output)


def _end(worker: Worker) -> None:
    """Kill a worker: its children exit with it, and its files are in the test's folder."""
    worker.process.kill()
    worker.process.wait(10)


def _database(server: Server, template: str | None) -> Iterator[Database]:
    name = f"test_{secrets.token_hex(6)}"
    server.create(name, template=template)
    try:
        yield Database(server=server, name=name)
    finally:
        server.drop(name)
