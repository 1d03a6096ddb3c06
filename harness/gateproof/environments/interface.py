"""The protocols of an environment: servers with databases, and processes of the system.

Abilities that only some environments have (kill, pause, restart) are separate protocols. A check
asks for one with `require` and is not applicable where it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar, runtime_checkable
from urllib.parse import quote

from gateproof.base.skip import NotApplicableError
from gateproof.environments.cause import cause_of
from gateproof_evidence.model import EnvironmentReport

A = TypeVar("A")


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address of a server."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Login:
    """A role and its password."""

    role: str
    password: str

    def dsn(self, address: Address, database: str, *, form: str = "postgresql") -> str:
        """Return the DSN in one of the accepted forms, such as ``postgresql+asyncpg``."""
        user, password = quote(self.role, safe=""), quote(self.password, safe="")
        return f"{form}://{user}:{password}@{address.host}:{address.port}/{database}"


class Server(Protocol):
    """A PostgreSQL server that this run started."""

    @property
    def outside(self) -> Address:
        """The address for the harness."""

    @property
    def inside(self) -> Address:
        """The address for the system's processes."""

    @property
    def superuser(self) -> Login:
        """The superuser's login."""

    def answers(self) -> bool:
        """Return whether it answers within a second or two."""

    def stop(self) -> None:
        """Kill it and delete its data."""


@runtime_checkable
class CanRestart(Protocol):
    """A server that can be stopped and started again with its data."""

    def halt(self) -> None:
        """Stop it, keeping its data."""

    def resume_service(self) -> None:
        """Start it again, at the same address."""


@runtime_checkable
class CanPause(Protocol):
    """A server or process that can be paused: it exists but answers nothing."""

    def pause(self) -> None:
        """Pause it."""

    def resume(self) -> None:
        """Resume it."""


@runtime_checkable
class CanDisconnect(Protocol):
    """A server or process that can be disconnected: packets are lost, nothing is refused."""

    def disconnect(self) -> None:
        """Disconnect it from the network; it keeps running and cannot be reached."""

    def reconnect(self) -> None:
        """Connect it to the network again under its name; earlier connections stay lost."""


@runtime_checkable
class CanKill(Protocol):
    """A process that can be killed."""

    def kill(self) -> None:
        """Kill it with SIGKILL."""


class Process(Protocol):
    """A long-running process of the system."""

    @property
    def pid(self) -> int:
        """Its process id, as the system sees it."""

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""

    def signal(self, name: str) -> None:
        """Send a signal by name, such as ``SIGTERM``."""

    def output(self) -> str:
        """Return the output so far, both streams in order."""

    def dispose(self) -> None:
        """Kill it in any state, and release its resources."""


@dataclass(frozen=True, order=True, kw_only=True)
class HeldConnection:
    """A TCP connection that a process holds."""

    pid: int
    """Process id of its owner, as in `children`."""
    local_port: int
    """The port that the server sees as the client's."""
    remote_host: str
    remote_port: int


@runtime_checkable
class CanInspect(Protocol):
    """A process whose children and sockets can be inspected."""

    def children(self) -> tuple[int, ...]:
        """Return the process ids of its direct children."""

    def connections(self) -> tuple[HeldConnection, ...]:
        """Return the TCP connections of the process and its descendants, each with its owner.

        A connection that several processes hold is listed for each. Listening sockets are left out.
        """


@runtime_checkable
class CanRemain(Protocol):
    """A process of which others may be left after its end."""

    def remaining(self) -> tuple[int, ...]:
        """Return the process ids that it started and that still run; zombies are left out."""


@runtime_checkable
class CanKillChild(Protocol):
    """A process whose children can be killed one by one."""

    def kill_child(self, pid: int) -> None:
        """Kill one of its children with SIGKILL."""


@runtime_checkable
class CanPauseChild(Protocol):
    """A process whose children can be paused one by one."""

    def pause_child(self, pid: int) -> None:
        """Pause one of its children with SIGSTOP."""

    def resume_child(self, pid: int) -> None:
        """Resume one of its children with SIGCONT."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The result of a command that finished or was killed at its deadline."""

    command: tuple[str, ...]
    exit_status: int
    output: str
    out_of_time: bool = False
    """Whether it was killed at its deadline; its status is then -9."""

    @property
    def cause(self) -> str:
        """The line of the output that names the cause of a failure; otherwise the last line."""
        return cause_of(self.output)


class Launcher(Protocol):
    """Starts commands in the place where the system runs."""

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, deadline_s: float
    ) -> Completed:
        """Run a command to its end; kill it at the deadline and report that in the result."""

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        share_network: Process | None = None,
    ) -> Process:
        """Start a long-running process.

        Args:
            name: name in messages and file names.
            command: its words; they run without a shell.
            env: its variables, in addition to those of every process.
            folder: its working folder.
            share_network: a process whose network and ports it shares; by default it has its own.

        """

    def converse(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> Conversation:
        """Start a process with which the harness exchanges lines over its standard streams."""

    def variable(self, name: str) -> str:
        """Return a variable that every process has without being given it; empty for none."""

    def free_port(self) -> int:
        """Return a free port of the place where the processes run."""

    def base_url(self, process: Process, port: int) -> str:
        """Return the URL of a process's port, for the harness."""

    def host_of(self, conversation: Conversation) -> str:
        """Return the host of a conversation's ports, for the system's processes."""


class Conversation(Protocol):
    """The standard streams of a process that the harness exchanges lines with."""

    @property
    def stdin(self) -> IO[str]:
        """Its standard input, for lines to it."""

    @property
    def stdout(self) -> IO[str]:
        """Its standard output, for lines from it."""

    def stderr(self) -> str:
        """Return its output on standard error so far."""

    def dispose(self) -> None:
        """Kill it and close its streams."""


class Environment(Protocol):
    """A place in which systems run."""

    @property
    def launcher(self) -> Launcher:
        """The launcher of the system's commands."""

    @property
    def warm(self) -> Launcher:
        """The same for proofs; processes may be forked where that is faster."""

    @property
    def machine(self) -> Launcher:
        """The launcher of commands on the machine of the harness itself."""

    @property
    def warm_machine(self) -> Launcher:
        """The same for proofs; processes may be forked where that is faster."""

    @property
    def files(self) -> Path:
        """A folder that the system's processes can read at the same path."""

    @property
    def watched_files(self) -> Path | None:
        """A folder that the system's processes can also write to; None if there is none.

        Their notes go there, see `gateproof.stack.watched`.
        """

    @property
    def images(self) -> Mapping[str, str]:
        """Maps the name of every container image that was used so far to its digest."""

    def new_server(self, name: str, *, durable: bool = False) -> Server:
        """Start an empty server.

        Args:
            name: name in messages; unique within the run.
            durable: whether data must survive a crash of the server.

        """

    def copy_server(self, template: Server, name: str) -> Server:
        """Start a server with the data of a stopped one."""

    def report(self) -> EnvironmentReport:
        """Return the description of this environment for the bundle."""

    def dispose(self) -> None:
        """Stop everything that this environment started."""


def require(thing: object, ability: type[A], what: str) -> A:
    """Return an object typed as one that has an ability.

    Raises:
        NotApplicableError: it lacks the ability; the check is then not applicable.

    """
    if not isinstance(thing, ability):
        raise NotApplicableError(f"{what}: this environment offers no {ability.__name__}")
    return thing
