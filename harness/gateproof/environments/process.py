"""Child processes of this machine: the launcher of the embedded environment."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Protocol

import psutil

from gateproof.base.errors import HarnessError
from gateproof.base.wait import wait_until
from gateproof.environments.fork_server import ForkServer, may_fork
from gateproof.environments.interface import Completed, Conversation, HeldConnection, Process
from gateproof.environments.leftover import session_of
from gateproof.environments.postgres import LOOPBACK, free_port, runs

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE")
"""What a process gets of the harness's own environment; nothing that could steer the system."""

STOP_DEADLINE_S = 10.0


def base_environment() -> dict[str, str]:
    """Return the part of the environment that every process gets."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


class Child(Protocol):
    """What is used of `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; past the time `subprocess.TimeoutExpired` is raised."""

    def send_signal(self, sig: int) -> None:
        """Send a signal."""

    def kill(self) -> None:
        """End it with SIGKILL."""


class Start(Protocol):
    """Starts a process in a session of its own, with a whole environment and three streams."""

    def __call__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        streams: tuple[int, int, int],
    ) -> Child:
        """Start it; the caller closes its descriptors of the streams."""


def start_cold(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    folder: Path,
    streams: tuple[int, int, int],
) -> Child:
    """Start a process as everybody does."""
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


class ChildProcess:
    """A process that goes on, its output kept in a file."""

    def __init__(
        self,
        start: Start,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        output: Path,
    ) -> None:
        self._output = output
        with output.open("ab") as stream, Path(os.devnull).open("rb") as nothing:
            streams = nothing.fileno(), stream.fileno(), stream.fileno()
            self._child = start(command, env=env, folder=folder, streams=streams)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._child.poll()

    def signal(self, name: str) -> None:
        """Send a signal by name; to a process that has ended it is nothing."""
        self._child.send_signal(signal.Signals[name])

    def output(self) -> str:
        """Return everything that it printed so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def children(self) -> tuple[int, ...]:
        """Return the ids of its direct children."""
        return tuple(child.pid for child in psutil.Process(self.pid).children())

    def connections(self) -> tuple[HeldConnection, ...]:
        """Return the TCP connections that it and its descendants hold, each with its holder."""
        return tuple(held for one in self._family() for held in _connections(one))

    def kill_child(self, pid: int) -> None:
        """End one of its children with SIGKILL."""
        for child in psutil.Process(self.pid).children():
            if child.pid == pid:
                child.kill()
                return
        raise HarnessError(f"child of {self.pid}: got {pid}, expected one of {self.children()}")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._child.kill()
        self._child.wait()

    def pause(self) -> None:
        """Freeze it and its children."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let them go on."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it still runs.

        """
        self._child.wait(timeout=timeout_s)

    def dispose(self) -> None:
        """Kill it and what it left behind."""
        family = self._family()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._child.wait()
        # Whoever adopts the orphans may take seconds to reap them; they do nothing by then.
        wait_until(
            lambda: not any(runs(process) for process in family if process.pid != self.pid),
            deadline_s=STOP_DEADLINE_S,
            interval_s=0.005,
        )

    def _family(self) -> list[psutil.Process]:
        """Return it and what it started, which outlives it where it was killed.

        Once it was reaped its number is free: who has it then is a stranger.
        """
        if self._child.poll() is not None and psutil.pid_exists(self.pid):
            return []
        return list(session_of(self.pid))


def _connections(process: psutil.Process) -> list[HeldConnection]:
    """Return a process's TCP connections; none when it ended a moment ago."""
    try:
        sockets = process.net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return []
    return [
        HeldConnection(
            pid=process.pid,
            local_port=socket.laddr[1],
            remote_host=socket.raddr[0],
            remote_port=socket.raddr[1],
        )
        for socket in sockets
        if socket.raddr
    ]


class PipedProcess:
    """A process that is spoken to over its standard streams."""

    def __init__(
        self,
        start: Start,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        complaint: Path,
    ) -> None:
        self._complaint = complaint
        hears, ours = os.pipe()
        theirs, says = os.pipe()
        self.stdin: IO[str] = os.fdopen(ours, "w", encoding="utf-8")
        """Lines to it."""
        self.stdout: IO[str] = os.fdopen(theirs, encoding="utf-8")
        """Lines from it."""
        with complaint.open("ab") as stream, os.fdopen(hears, "rb"), os.fdopen(says, "wb"):
            streams = hears, says, stream.fileno()
            self._child = start(command, env=env, folder=folder, streams=streams)

    def complaint(self) -> str:
        """Return what it wrote to standard error so far."""
        return self._complaint.read_text(encoding="utf-8", errors="replace")

    def dispose(self) -> None:
        """Kill it."""
        self._child.kill()
        self._child.wait()
        for stream in (self.stdin, self.stdout):
            with suppress(OSError):  # what was not yet sent to a dead process is lost with it
                stream.close()


PYTEST_NEEDS = (
    *("asyncio", "cryptography.hazmat.primitives.serialization.ssh", "httpx", "jinja2", "psutil"),
    *("psycopg", "pydantic", "pytest", "rich.table"),
)
"""What a pytest with the harness imports of others' packages. Not pytest's plugins: it reads these
itself, to rewrite their assertions."""


class LocalLauncher:
    """Starts the system's commands as children of this process.

    Args:
        folder: the run's folder: output goes to `out` in it, temporary files to `tmp`.
        label: variables by which everything that is started here is known.
        warm: packages; where any is named, processes that only need them imported are forked, see
            `fork_server`.
        prefix: of the names of files, where several launchers share the folder.

    """

    def __init__(
        self,
        folder: Path,
        *,
        label: Mapping[str, str],
        warm: Sequence[str] = (),
        prefix: str = "",
    ) -> None:
        self.output = folder / "out"
        """Holds what the processes print, before it is redacted: for this account alone."""
        self._temporary = folder / "tmp"
        self.output.mkdir(mode=0o700, exist_ok=True)
        # A server that a command starts runs as another account, and has to get through.
        self._temporary.mkdir(exist_ok=True)
        self._temporary.chmod(0o711)
        self._label = label
        self._prefix = prefix
        self._numbers = count()
        self._warm = tuple(warm)
        self._forks: ForkServer | None = None
        if warm:
            self._forks = ForkServer(warm, env={**base_environment(), **label}, folder=self.output)
        self._started: list[ChildProcess | PipedProcess] = []

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, deadline_s: float
    ) -> Completed:
        """Run a command to its end; past the deadline it is killed, and that is told."""
        child = self._begin("command", command, env=env, folder=folder)
        out_of_time = False
        try:
            child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            out_of_time = True
            child.dispose()
        status = child.exit_status
        assert status is not None
        self._started.remove(child)
        return Completed(
            command=tuple(command),
            exit_status=status,
            output=child.output(),
            out_of_time=out_of_time,
        )

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        beside: Process | None = None,  # noqa: ARG002 (on one machine all share the ports)
    ) -> Process:
        """Start a process that runs until it is stopped."""
        return self._begin(name, command, env=env, folder=folder)

    def _begin(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> ChildProcess:
        output = self._file(f"{name}.log")
        start, whole = self._how(command, env)
        child = ChildProcess(start, command, env=whole, folder=folder, output=output)
        self._started.append(child)
        return child

    def converse(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> PipedProcess:
        """Start a process that is spoken to over its standard streams."""
        complaint = self._file("client.err")
        start, whole = self._how(command, env)
        child = PipedProcess(start, command, env=whole, folder=folder, complaint=complaint)
        self._started.append(child)
        return child

    def free_port(self) -> int:
        """Return a loopback port that nothing listens on."""
        return free_port()

    def base_url(self, process: Process, port: int) -> str:  # noqa: ARG002 (one machine)
        """Return the URL of a port of this machine."""
        return f"http://{LOOPBACK}:{port}"

    def host_of(self, conversation: Conversation) -> str:  # noqa: ARG002 (one machine)
        """Return this machine's loopback."""
        return LOOPBACK

    def dispose(self) -> None:
        """Kill whatever still runs."""
        for child in self._started:
            child.dispose()
        if self._forks is not None:
            self._forks.stop()

    def _file(self, name: str) -> Path:
        return self.output / f"{self._prefix}{next(self._numbers):04d}-{name}"

    def _how(
        self, command: Sequence[str], env: Mapping[str, str]
    ) -> tuple[Start, Mapping[str, str]]:
        """Return how a command is started, and its whole environment.

        Temporary files and state of whatever runs here go to the run's folder: a killed process
        leaves them behind, and the folder is removed with the run.
        """
        own = {"TMPDIR": str(self._temporary), "XDG_STATE_HOME": str(self._temporary)}
        whole = {**base_environment(), **own, **self._label, **env}
        forks = self._forks
        if forks is None or not may_fork(command, env, self._warm):
            return start_cold, whole
        return forks, whole
