"""Child processes of this machine: the launcher of the embedded environment."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

import psutil

from harness.environments.interface import Completed, Conversation, Process
from harness.environments.postgres import LOOPBACK, free_port, runs
from harness.errors import HarnessError
from harness.leftovers import session_of
from harness.wait import wait_until

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE")
"""What a process gets of the harness's own environment; nothing that could steer the system."""

STOP_DEADLINE_S = 10.0


def base_environment() -> dict[str, str]:
    """Return the part of the environment that every process gets."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


class ChildProcess:
    """A process that goes on, its output kept in a file."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, output: Path
    ) -> None:
        self._output = output
        with output.open("ab") as stream:
            self._child = subprocess.Popen(
                command,
                cwd=folder,
                env={**base_environment(), **env},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

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

    def environment(self) -> Mapping[str, str]:
        """Return its environment variables as the kernel has them."""
        return dict(psutil.Process(self.pid).environ())

    def children(self) -> tuple[int, ...]:
        """Return the ids of its direct children."""
        return tuple(child.pid for child in psutil.Process(self.pid).children())

    def remote_ports(self) -> tuple[tuple[str, int], ...]:
        """Return the remote addresses of its and its children's TCP connections."""
        return tuple((str(s.raddr[0]), int(s.raddr[1])) for s in self._connected())

    def local_ports(self) -> tuple[int, ...]:
        """Return the local ports of the same connections, as a server sees its clients'."""
        return tuple(int(s.laddr[1]) for s in self._connected())

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
            lambda: not any(runs(process) for process in family[1:]),
            deadline_s=STOP_DEADLINE_S,
            interval_s=0.005,
        )

    def _connected(self) -> list[Any]:
        sockets = [s for one in self._family() for s in _sockets(one)]
        return [s for s in sockets if s.raddr]

    def _family(self) -> list[psutil.Process]:
        """Return it and what it started, which outlives it where it was killed.

        Once it was reaped its number is free: who has it then is a stranger.
        """
        if self._child.poll() is not None and psutil.pid_exists(self.pid):
            return []
        return list(session_of(self.pid))


def _sockets(process: psutil.Process) -> list[Any]:
    """Return a process's TCP sockets; none when it ended a moment ago."""
    try:
        return list(process.net_connections(kind="tcp"))
    except psutil.NoSuchProcess:
        return []


class PipedProcess:
    """A process that is spoken to over its standard streams."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, complaint: Path
    ) -> None:
        self._complaint = complaint
        with complaint.open("ab") as stream:
            self._child = subprocess.Popen(
                command,
                cwd=folder,
                env={**base_environment(), **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )

    @property
    def stdin(self) -> IO[str]:
        """Lines to it."""
        assert self._child.stdin is not None
        return self._child.stdin

    @property
    def stdout(self) -> IO[str]:
        """Lines from it."""
        assert self._child.stdout is not None
        return self._child.stdout

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


class LocalLauncher:
    """Starts the system's commands as children of this process.

    Args:
        folder: where the processes' output is kept.
        label: variables by which everything that is started here is known.

    """

    def __init__(self, folder: Path, *, label: Mapping[str, str]) -> None:
        self._folder = folder
        self._label = label
        self._numbers = count()
        self._started: list[ChildProcess | PipedProcess] = []

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, deadline_s: float
    ) -> Completed:
        """Run a command to its end; past the deadline it is killed and its status is -9."""
        child = self._begin("command", command, env=env, folder=folder)
        try:
            child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            child.dispose()
        status = child.exit_status
        assert status is not None
        self._started.remove(child)
        return Completed(command=tuple(command), exit_status=status, output=child.output())

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        beside: Process | None = None,  # noqa: ARG002 (on one machine all share the ports)
    ) -> Process:
        """Start a process that goes on, with a place for temporary files that ends with the run."""
        # A killed process leaves them behind. Commands keep the machine's own: some start servers.
        own = {"TMPDIR": str(self._folder), **env}
        return self._begin(name, command, env=own, folder=folder)

    def _begin(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> ChildProcess:
        output = self._folder / f"{next(self._numbers):04d}-{name}.log"
        labelled = {**self._label, **env}
        child = ChildProcess(command, env=labelled, folder=folder, output=output)
        self._started.append(child)
        return child

    def converse(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> PipedProcess:
        """Start a process that is spoken to over its standard streams."""
        complaint = self._folder / f"{next(self._numbers):04d}-client.err"
        labelled = {**self._label, **env}
        child = PipedProcess(command, env=labelled, folder=folder, complaint=complaint)
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
