"""The description of the system under test: ``sut.toml``, strictly parsed.

All that the harness knows of a system comes from this file. Owns its shape and the values that a
command line can name (``{python}`` and the like); leaves starting anything to
`gateproof.stack.stack`.

Source: docs/reference/sut.md.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.problem import first_problem


class Section(BaseModel):
    """A table of the file; unknown keys and other types are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


Words = tuple[str, ...]
Command = Annotated[Words, Field(min_length=1)]
"""Words of a command; ``{python}`` and what its key's documentation names are filled in."""

_DSN_FORMS = "postgresql|postgresql+asyncpg|postgresql+psycopg2|postgresql+psycopg"
DsnForm = Annotated[str, Field(pattern=f"^({_DSN_FORMS})$".replace("+", r"\+"))]


InnerFolder = Annotated[str, Field(pattern=r"^(/\w[\w.-]*)+$")]
"""Absolute path of a folder in an image, without `..`."""


class Celery(Section):
    """The Celery app."""

    app: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """``module:attribute`` of the app, importable from `Sut.root`."""
    worker_module: str
    """The module that a worker process runs; importing it must start nothing."""
    task_prefix: str
    """What the names of the system's own tasks begin with."""
    tables: Words
    """The tables of broker and result backend."""


class Roles(Section):
    """Database roles by what they are for."""

    migration: str
    """Owns the schema; runs the migrations."""
    worker: str
    """What workers and publishers connect as."""
    operator: str
    """Reads and moves every dead letter."""
    reader: str
    """Reads every dead letter."""
    aggregator: str
    """Owns the materialized views; nobody logs in as it."""

    def login(self) -> Words:
        """Return the roles that get a password, each once."""
        return tuple(dict.fromkeys((self.migration, self.worker, self.operator, self.reader)))


class Provision(Section):
    """SQL files to run as superuser before migrating."""

    server: Words = ()
    """Once a server: roles."""
    database: Words = ()
    """In every database, clones too: a clone drops database-level privileges."""


class Migrations(Section):
    """How to migrate."""

    role: str
    """Who runs the migrations."""
    dsn: dict[str, DsnForm]
    """Environment variable to DSN form."""
    upgrade: Command
    """``{revision}`` is filled in."""
    downgrade: Command
    """``{revision}`` is filled in."""
    all: str
    """The revision that means everything."""
    branches: Words
    """Revisions that must work alone on an empty database."""
    base: str
    """The revision that means nothing at all."""


class Report(Section):
    """The log line in which a running worker says what it uses, and its fields."""

    message: str
    """The message of that line."""
    broker: str
    """Field that holds the broker URL's scheme."""
    result_backend: str
    """Field that holds the result backend URL's scheme."""
    eager: str
    """Field that holds whether tasks run on the spot."""
    queues: str
    """Field that holds the names of the consumed queues."""


class WorkerSection(Section):
    """How to start a worker."""

    command: Command
    """``{queues}``, ``{pool}`` and ``{concurrency}`` are filled in."""
    pool: str
    """Pool that a worker runs unless a check asks for another."""
    concurrency: Annotated[int, Field(ge=1)]
    """Children or threads unless a check asks for another number."""
    warm: Words = ()
    """Modules of packages, none of the system's own, that the processes of proofs find imported:
    they are forked then, and not started cold. Importing them must start no thread and read no
    setting. None, and every process is started cold."""
    stop_signal: Annotated[str, Field(pattern=r"^SIG[A-Z0-9]+$")]
    """The signal of a warm shutdown."""
    role: str
    """The database role of its DSNs."""
    dsn: dict[str, DsnForm]
    """Environment variable to DSN form."""
    broker: str
    """Name of the variable that sets the broker URL."""
    result_backend: str
    """Name of the variable that sets the result backend URL."""
    port: str
    """Name of the variable that sets the port of the endpoints."""
    eager: str
    """Name of the variable that would switch eager mode on."""
    env: dict[str, str] = {}
    """Further variables, as they are."""
    report: Report


class Ping(Section):
    """The task that shows that a worker answers."""

    task: str
    """Name of the task."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of the ping."""
    expect: dict[str, Any]
    """Part of its result."""
    fail: dict[str, Any]
    """Arguments with which it fails."""
    fail_error: str
    """Class name of the exception that it then raises."""
    retry: dict[str, Any] = {}
    """Arguments with which it is retried once before it succeeds."""
    hold: dict[str, Any] = {}
    """Arguments with which it goes on for a minute or more before it succeeds."""


class Tenancy(Section):
    """How tenants are told apart."""

    guc: str
    """The setting that names the current tenant."""
    key: str
    """The column that names the tenant."""
    tables: Words
    """Tables that hold rows of tenants."""
    exceptions: Words = ()
    """Tables that have the key and need no policy."""


class DeadLetters(Section):
    """Where failed tasks end."""

    table: str
    """The table of dead letters."""
    former_table: str
    """Its name before the rename migration."""


class Endpoints(Section):
    """What every worker serves over HTTP."""

    metrics: str
    """Path of the metrics in Prometheus text format."""
    health: str
    """Path of the health in JSON."""
    health_deadline_s: float
    """Within which the health endpoint must answer, in seconds."""


class Logs(Section):
    """Names of the fields and messages of the log lines."""

    timestamp: str = "timestamp"
    """Aware, ISO 8601."""
    level: str = "level"
    """Field of the severity."""
    logger: str = "logger"
    """Field of the logger's name."""
    message: str
    """Field of the message."""
    task_name: str
    """Field of the task's name."""
    task_id: str
    """Field of the task's id."""
    tenant_id: str
    """Field of the tenant."""
    correlation_id: str
    """Field of the correlation id."""
    error: str
    """Field of the error, on failure."""
    success: str
    """Message of the line that a finished task leaves."""
    failure: str
    """Message of the line that a failed task leaves."""
    retry: str
    """Message of the line that a retry leaves."""


class Image(Section):
    """The system's own image, for the environment that runs it in containers."""

    dockerfile: str
    """The Dockerfile, relative to `Sut.root`, which is the build context."""
    context: Words
    """Files and folders, relative to `Sut.root`, that the image is built from, and no others."""
    folder: str
    """Where `Sut.root` is inside the image."""
    python: str = "python"
    """The interpreter inside the image: what ``{python}`` stands for there."""
    volumes: tuple[InnerFolder, ...] = ()
    """Folders of the image, owned by its user, that processes may write beside ``/tmp``; what they
    write outlives them, is there for the next, and goes with the run."""


class Sut(Section):
    """One system under test."""

    name: str
    """What reports call the system."""
    root: str
    """Working folder of every command, relative to this file or absolute."""
    sources: Words
    """Folders and files whose digest binds a bundle to the code."""
    celery: Celery
    roles: Roles
    provision: Provision
    migrations: Migrations
    worker: WorkerSection
    ping: Ping
    queues: dict[str, Words]
    """Queue to the names of the tasks that it serves: all tasks of the contract."""
    tenancy: Tenancy
    dead_letters: DeadLetters
    endpoints: Endpoints
    logs: Logs
    image: Image | None = None
    """How to build its image; without it only a ready one can be run in containers."""

    _path: Path = PrivateAttr()
    _digest: str = PrivateAttr()
    _folder: Path = PrivateAttr()

    @property
    def folder(self) -> Path:
        """The working folder of every command, absolute."""
        return self._folder

    @property
    def path(self) -> Path:
        """The file that was read."""
        return self._path

    @property
    def digest(self) -> str:
        """Digest of the file's bytes."""
        return self._digest

    @property
    def tasks(self) -> Words:
        """Every task of the contract, in the order of the file."""
        return tuple(task for tasks in self.queues.values() for task in tasks)

    def moved_to(self, folder: Path) -> Sut:
        """Return the description of a copy of the system in another folder."""
        moved = self.model_copy()
        moved._folder = folder  # noqa: SLF001 (of the same class)
        if self._path.is_relative_to(self._folder):
            moved._path = folder / self._path.relative_to(self._folder)  # noqa: SLF001 (likewise)
        return moved

    def queue_of(self, task: str) -> str:
        """Return the queue that serves a task.

        Raises:
            KeyError: the contract has no such task.

        """
        for queue, tasks in self.queues.items():
            if task in tasks:
                return queue
        raise KeyError(task)

    def fill(self, command: Iterable[str], **values: object) -> list[str]:
        """Return a command's words with its placeholders filled in."""
        return [word.format(python=sys.executable, **values) for word in command]

    def read_sql(self, names: Iterable[str]) -> list[str]:
        """Return the texts of SQL files named relative to the system's folder.

        Raises:
            BadInputError: one cannot be read.

        """
        texts = []
        for name in names:
            path = self.folder / name
            try:
                texts.append(path.read_text(encoding="utf-8"))
            except OSError as error:
                raise BadInputError(
                    f"{self._path}: provision: got {name}, expected a readable SQL file under "
                    f"{self.folder} ({error.strerror}); mend the name or `root`"
                ) from error
        return texts

    def sources_digest(self) -> str:
        """Return the digest over names and contents of the system's files.

        Compiled files and other droppings of a run are left out.
        """
        digest = hashlib.sha256()
        for source in self.sources:
            for path in sorted((self.folder / source).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    name = path.relative_to(self.folder).as_posix()
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                    digest.update(f"{content}  {name}\n".encode())
        return f"sha256:{digest.hexdigest()}"


def load_sut(path: Path) -> Sut:
    """Read and check a ``sut.toml``.

    Raises:
        BadInputError: the file cannot be read, is no TOML, has an unknown key or a wrong type.

    """
    try:
        content = path.read_bytes()
        told = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise BadInputError(
            f"{path}: sut file: cannot be read ({error.strerror}); name another with --sut"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: sut file: is no TOML ({error})") from error
    try:
        sut = Sut.model_validate(_tuples(told))
    except ValidationError as error:
        raise BadInputError(f"{path}: {_first(error)}; see docs/reference/sut.md") from error
    sut._path = path.resolve()  # noqa: SLF001 (the one constructor)
    sut._folder = (sut._path.parent / sut.root).resolve()  # noqa: SLF001
    sut._digest = f"sha256:{hashlib.sha256(content).hexdigest()}"  # noqa: SLF001
    return sut


def _tuples(value: Any) -> Any:
    """Turn TOML's arrays into tuples, as the strict model wants them."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def _first(error: ValidationError) -> str:
    first = first_problem(error, before=("extra_forbidden", "missing"))
    if first.kind == "extra_forbidden":
        return f"{first.field}: unknown key; remove it or mend its spelling"
    if first.kind == "missing":
        return f"{first.field}: missing key; add it"
    return f"{first.field}: got {first.value!r}, expected: {first.message}"
