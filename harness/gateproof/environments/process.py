"""Child processes of this machine: the launcher of the embedded environment."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
"""Variables that a process inherits from the harness; none of them configures the system."""

STOP_DEADLINE_S = 10.0


def base_environment() -> dict[str, str]:
    """Return the variables that every process inherits."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


class Child(Protocol):
    """A child process, with the methods of `subprocess.Popen` that are used here."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it exits, or raise `subprocess.TimeoutExpired`."""

    def send_signal(self, sig: int) -> None:
        """Send a signal."""

    def kill(self) -> None:
        """Kill it with SIGKILL."""


class Start(Protocol):
    """Starts a process in its own session, with a complete environment and three streams."""

    def __call__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        streams: tuple[int, int, int],
    ) -> Child:
        """Start it; the caller closes its own descriptors of the streams."""


def start_cold(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    folder: Path,
    streams: tuple[int, int, int],
) -> Child:
    """Start a process with `subprocess`, without the fork server."""
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


@dataclass(frozen=True)
class StartWarm:
    """Starts a process with the fork server, or cold if the fork server demands it."""

    forks: ForkServer

    def __call__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        streams: tuple[int, int, int],
    ) -> Child:
        """Start it; see `Start`."""
        forked = self.forks(command, env=env, folder=folder, streams=streams)
        return forked or start_cold(command, env=env, folder=folder, streams=streams)


class ChildProcess:
    """A long-running process whose output is kept in a file."""

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
        """Send a signal by name; do nothing if the process has exited."""
        self._child.send_signal(signal.Signals[name])

    def output(self) -> str:
        """Return the output so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def children(self) -> tuple[int, ...]:
        """Return the process ids of its direct children."""
        return tuple(child.pid for child in psutil.Process(self.pid).children())

    def connections(self) -> tuple[HeldConnection, ...]:
        """Return the TCP connections of the process and its descendants, each with its owner."""
        return tuple(held for one in self._process_group() for held in _connections(one))

    def remaining(self) -> tuple[int, ...]:
        """Return the process ids of its session, except its own, that still run."""
        return tuple(one.pid for one in self._process_group() if one.pid != self.pid and runs(one))

    def kill_child(self, pid: int) -> None:
        """Kill one of its children with SIGKILL."""
        self._child_of(pid).kill()

    def pause_child(self, pid: int) -> None:
        """Pause one of its children with SIGSTOP."""
        self._child_of(pid).suspend()

    def resume_child(self, pid: int) -> None:
        """Resume one of its children with SIGCONT."""
        self._child_of(pid).resume()

    def _child_of(self, pid: int) -> psutil.Process:
        for child in psutil.Process(self.pid).children():
            if child.pid == pid:
                return child
        raise HarnessError(f"child of {self.pid}: got {pid}, expected one of {self.children()}")

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._child.kill()
        self._child.wait()

    def pause(self) -> None:
        """Pause it and its children."""
        for process in self._process_group():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Resume it and its children."""
        for process in self._process_group():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def wait(self, timeout_s: float) -> None:
        """Wait until it exits.

        Raises:
            subprocess.TimeoutExpired: it still runs.

        """
        self._child.wait(timeout=timeout_s)

    def dispose(self) -> None:
        """Kill it and its descendants."""
        family = self._process_group()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._child.wait()
        # The init process may take seconds to reap the orphans; zombies do no harm.
        wait_until(
            lambda: not any(runs(process) for process in family if process.pid != self.pid),
            deadline_s=STOP_DEADLINE_S,
            interval_s=0.005,
        )

    def _process_group(self) -> list[psutil.Process]:
        """Return the process and its descendants, which may outlive it.

        After it was reaped, another process may get its id; nothing is returned then.
        """
        if self._child.poll() is not None and psutil.pid_exists(self.pid):
            return []
        return list(session_of(self.pid))


def _connections(process: psutil.Process) -> list[HeldConnection]:
    """Return the TCP connections of a process; none if it has just exited."""
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
    """A process with which the harness exchanges lines over its standard streams."""

    def __init__(
        self,
        start: Start,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        stderr: Path,
    ) -> None:
        self._stderr = stderr
        child_input, ours = os.pipe()
        theirs, child_output = os.pipe()
        self.stdin: IO[str] = os.fdopen(ours, "w", encoding="utf-8")
        """Its standard input, for lines to it."""
        self.stdout: IO[str] = os.fdopen(theirs, encoding="utf-8")
        """Its standard output, for lines from it."""
        with (
            stderr.open("ab") as errors,
            os.fdopen(child_input, "rb"),
            os.fdopen(child_output, "wb"),
        ):
            streams = child_input, child_output, errors.fileno()
            self._child = start(command, env=env, folder=folder, streams=streams)

    def stderr(self) -> str:
        """Return its output on standard error so far."""
        return self._stderr.read_text(encoding="utf-8", errors="replace")

    def dispose(self) -> None:
        """Kill it and close its streams."""
        self._child.kill()
        self._child.wait()
        for stream in (self.stdin, self.stdout):
            with suppress(OSError):  # data that was not yet sent to the killed process is lost
                stream.close()


PYTEST_NEEDS = (
    *("asyncio", "cryptography.hazmat.primitives.serialization.ssh", "httpx", "jinja2", "psutil"),
    *("psycopg", "pydantic", "pytest", "rich.table"),
)
"""Third-party packages that pytest with the harness imports. Plugins of pytest are left out: it
must import them itself, to rewrite their assertions."""


class LocalLauncher:
    """Starts the system's commands as children of this process.

    Args:
        folder: the folder of the run: output goes to `out` in it, temporary files to `tmp`.
        label: environment variables that mark all processes of this run.
        warm: packages to import once; if any is named, processes are forked where possible, see
            `fork_server`.
        prefix: prefix of file names, for several launchers in one folder.

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
        """Holds the output of the processes before redaction: readable by this account only."""
        temporary = folder / "tmp"
        self.output.mkdir(mode=0o700, exist_ok=True)
        # A server that a command starts runs as another account, which must be able to enter.
        temporary.mkdir(exist_ok=True)
        temporary.chmod(0o711)
        # Temporary files and state go to the folder of the run: a killed process leaves them
        # behind, and the folder is removed with the run.
        own = {"TMPDIR": str(temporary), "XDG_STATE_HOME": str(temporary)}
        self._common = {**base_environment(), **own, **label}
        self._prefix = prefix
        self._numbers = count()
        self._warm = tuple(warm)
        self._forks: ForkServer | None = None
        if warm:
            self._forks = ForkServer(warm, env=self._common, folder=self.output)
        self._started: list[ChildProcess | PipedProcess] = []

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, deadline_s: float
    ) -> Completed:
        """Run a command to its end; kill it at the deadline and report that in the result."""
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
        share_network: Process | None = None,  # noqa: ARG002 (on one machine all share it)
    ) -> Process:
        """Start a process that runs until it is stopped."""
        return self._begin(name, command, env=env, folder=folder)

    def _begin(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> ChildProcess:
        output = self._file(f"{name}.log")
        start, environment = self._start_mode(command, env)
        child = ChildProcess(start, command, env=environment, folder=folder, output=output)
        self._started.append(child)
        return child

    def converse(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> PipedProcess:
        """Start a process with which the harness exchanges lines over its standard streams."""
        stderr = self._file("client.err")
        start, environment = self._start_mode(command, env)
        child = PipedProcess(start, command, env=environment, folder=folder, stderr=stderr)
        self._started.append(child)
        return child

    def variable(self, name: str) -> str:
        """Return a variable that every process inherits; empty for none."""
        return base_environment().get(name, "")

    def free_port(self) -> int:
        """Return a free loopback port."""
        return free_port()

    def base_url(self, process: Process, port: int) -> str:  # noqa: ARG002 (one machine)
        """Return the URL of a port of this machine."""
        return f"http://{LOOPBACK}:{port}"

    def host_of(self, conversation: Conversation) -> str:  # noqa: ARG002 (one machine)
        """Return the loopback address of this machine."""
        return LOOPBACK

    def dispose(self) -> None:
        """Kill all processes that still run."""
        for child in self._started:
            child.dispose()
        if self._forks is not None:
            self._forks.stop()

    def _file(self, name: str) -> Path:
        return self.output / f"{self._prefix}{next(self._numbers):04d}-{name}"

    def _start_mode(
        self, command: Sequence[str], env: Mapping[str, str]
    ) -> tuple[Start, Mapping[str, str]]:
        """Return how to start a command, cold or forked, and its complete environment."""
        complete = {**self._common, **env}
        forks = self._forks
        if forks is None or not may_fork(command, env, self._warm):
            return start_cold, complete
        return StartWarm(forks), complete
