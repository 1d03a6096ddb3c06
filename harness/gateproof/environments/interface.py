"""What every environment offers: servers with databases, and processes of the system.

Abilities that only some have (kill, pause, restart) are protocols of their own; a check asks for
one with `require` and is not applicable where it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar, runtime_checkable
from urllib.parse import quote

from gateproof.base.errors import NotApplicableError
from gateproof_evidence.model import EnvironmentReport

A = TypeVar("A")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server listens."""

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
        """Where the harness reaches it."""

    @property
    def inside(self) -> Address:
        """Where the system's processes reach it."""

    @property
    def superuser(self) -> Login:
        """The superuser's login."""

    def answers(self) -> bool:
        """Tell whether it answers now, within a second or two."""

    def stop(self) -> None:
        """End it and throw its data away."""


@runtime_checkable
class CanRestart(Protocol):
    """A server that can be taken away and brought back with its data."""

    def halt(self) -> None:
        """Stop it, keeping its data."""

    def resume_service(self) -> None:
        """Start it again, on the same address."""


@runtime_checkable
class CanPause(Protocol):
    """A server or process that can be frozen: it is there, and answers nothing."""

    def pause(self) -> None:
        """Freeze it."""

    def resume(self) -> None:
        """Let it go on."""


@runtime_checkable
class CanCut(Protocol):
    """A server or process whose network can be cut: nothing is refused, and nothing arrives."""

    def cut(self) -> None:
        """Take it from the network; it goes on, and nobody reaches it."""

    def mend(self) -> None:
        """Bring it back under its name; connections that it had stay lost."""


@runtime_checkable
class CanKill(Protocol):
    """A process that can be killed outright."""

    def kill(self) -> None:
        """End it with SIGKILL."""


class Process(Protocol):
    """A process of the system that runs on its own."""

    @property
    def pid(self) -> int:
        """Its process id, as the system sees it."""

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""

    def signal(self, name: str) -> None:
        """Send a signal by name, such as ``SIGTERM``."""

    def output(self) -> str:
        """Return everything that it printed so far, both streams in order."""

    def dispose(self) -> None:
        """End it, whatever it does, and forget it."""


@dataclass(frozen=True, order=True, kw_only=True)
class HeldConnection:
    """A TCP connection that a process holds."""

    pid: int
    """Its holder, where that runs: the number that `children` has for a child."""
    local_port: int
    """As a server sees its client's."""
    remote_host: str
    remote_port: int


@runtime_checkable
class CanInspect(Protocol):
    """A process whose children and sockets can be seen."""

    def children(self) -> tuple[int, ...]:
        """Return the ids of its direct children."""

    def connections(self) -> tuple[HeldConnection, ...]:
        """Return the TCP connections that it and its descendants hold, each with its holder.

        One that several of them hold is told of once for each. Listening sockets are left out.
        """


@runtime_checkable
class CanKillChild(Protocol):
    """A process of whose children one can be killed outright."""

    def kill_child(self, pid: int) -> None:
        """End one of its children with SIGKILL."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A command that came to its end, or was killed at its deadline."""

    command: tuple[str, ...]
    exit_status: int
    output: str
    out_of_time: bool = False
    """Whether it was killed at its deadline; its status is then -9."""


class Launcher(Protocol):
    """Starts the system's commands where the system lives."""

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, deadline_s: float
    ) -> Completed:
        """Run a command to its end; past the deadline it is killed, and that is told."""

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        beside: Process | None = None,
    ) -> Process:
        """Start a process that goes on.

        Args:
            name: for people and file names.
            command: its words; no shell reads them.
            env: its environment, beside what every process gets.
            folder: its working folder.
            beside: a process that it shares the ports with; by default it need not.

        """

    def converse(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> Conversation:
        """Start a process that is spoken to over its standard streams."""

    def free_port(self) -> int:
        """Return a port that nothing listens on, where the processes run."""

    def base_url(self, process: Process, port: int) -> str:
        """Return the URL at which the harness reaches a process's port."""

    def host_of(self, conversation: Conversation) -> str:
        """Return the address at which the system's processes reach a conversation's ports."""


class Conversation(Protocol):
    """The standard streams of a process."""

    @property
    def stdin(self) -> IO[str]:
        """Lines to it."""

    @property
    def stdout(self) -> IO[str]:
        """Lines from it."""

    def complaint(self) -> str:
        """Return what it wrote to standard error so far."""

    def dispose(self) -> None:
        """End it."""


class Environment(Protocol):
    """A place to run systems in."""

    @property
    def launcher(self) -> Launcher:
        """Starts the system's commands."""

    @property
    def warm(self) -> Launcher:
        """Starts the same for proofs, which may be forked where that is quicker."""

    @property
    def machine(self) -> Launcher:
        """Starts commands on the machine that the harness itself runs on."""

    @property
    def warm_machine(self) -> Launcher:
        """Starts the same for proofs, which may be forked where that is quicker."""

    @property
    def files(self) -> Path:
        """A folder whose content the system's processes see under the same path, read-only."""

    @property
    def images(self) -> Mapping[str, str]:
        """Name to digest of every container image that was used so far."""

    def new_server(self, name: str, *, durable: bool = False) -> Server:
        """Start an empty server.

        Args:
            name: for people; unique within the run.
            durable: whether data must survive a crash of the server.

        """

    def copy_server(self, template: Server, name: str) -> Server:
        """Start a server with the data of a halted one."""

    def report(self) -> EnvironmentReport:
        """Return what the bundle says of this environment."""

    def dispose(self) -> None:
        """End everything that was started here."""


def require(thing: object, ability: type[A], what: str) -> A:
    """Return the thing as one that has an ability.

    Raises:
        NotApplicableError: it has not; the check is then not applicable, with the reason.

    """
    if not isinstance(thing, ability):
        raise NotApplicableError(f"{what}: this environment offers no {ability.__name__}")
    return thing
