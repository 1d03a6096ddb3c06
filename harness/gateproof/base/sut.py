"""The description of the system under test: ``sut.toml``, strictly parsed.

All that the harness knows about a system comes from this file. Owns its schema and the placeholders
of commands (``{python}`` and the like); leaves starting processes to `gateproof.stack.stack`.

Source: docs/reference/sut.md.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.problem import first_problem
from gateproof_evidence.redaction.secret import is_secret_variable, password_of


class Section(BaseModel):
    """A table of the file; unknown keys and wrong types are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


Words = tuple[str, ...]
Command = Annotated[Words, Field(min_length=1)]
"""Words of a command; ``{python}`` and the placeholders that the key documents are filled in."""

PACK = "pack:"
"""Begins an entry of `Sut.gates` that names a pack instead of a folder."""

_DSN_FORMS = "postgresql|postgresql+asyncpg|postgresql+psycopg2|postgresql+psycopg"
DsnForm = Annotated[str, Field(pattern=f"^({_DSN_FORMS})$".replace("+", r"\+"))]


Timezone = Annotated[str, Field(pattern=r"^[A-Za-z0-9<>:+/_,.-]*$")]
"""A value of the variable `TZ`; empty leaves it as it is."""

InnerFolder = Annotated[str, Field(pattern=r"^(/\w[\w.-]*)+$")]
"""Absolute path of a folder in an image, without `..`."""


class Celery(Section):
    """The Celery app."""

    app: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """``module:attribute`` of the app, importable from `Sut.root`."""
    worker_module: str
    """The module that a worker process runs; importing it must start nothing."""
    task_prefix: str
    """The common prefix of the names of the system's own tasks."""
    tables: Words
    """The tables of the broker and the result backend."""


class Roles(Section):
    """Database roles by purpose."""

    migration: str
    """Owns the schema; runs the migrations."""
    worker: str
    """The role that workers and publishers connect as."""
    operator: str
    """Reads and moves every dead-letter row."""
    reader: str
    """Reads every dead-letter row."""
    aggregator: str
    """Owns the materialized views; has no login."""

    def login(self) -> Words:
        """Return the roles that get a password, each once."""
        return tuple(dict.fromkeys((self.migration, self.worker, self.operator, self.reader)))


class Provision(Section):
    """SQL files to run as superuser before the migrations."""

    server: Words = ()
    """Run once per server: roles."""
    database: Words = ()
    """Run in every database, clones included: a clone loses database-level privileges."""


class Migrations(Section):
    """How to run the migrations."""

    role: str
    """The role that runs the migrations."""
    dsn: dict[str, DsnForm]
    """Maps environment variables to the form of their DSN."""
    upgrade: Command
    """``{revision}`` is filled in."""
    downgrade: Command
    """``{revision}`` is filled in."""
    all: str
    """The revision that applies all migrations."""
    branches: Words
    """Revisions that must apply on their own to an empty database, one a branch. The first is that
    of the dead-letter table; one of them creates the tables of Celery."""
    base: str
    """The revision that removes all migrations."""


class Broker(Section):
    """The promises of the broker."""

    lease_s: Annotated[float, Field(gt=0)]
    """Seconds after which a message comes back whose worker was killed: a lease or a visibility
    timeout. Checks watch for a multiple of it."""
    lease_env: str = ""
    """Name of a variable that sets it in workers, in seconds. Needed for a lease of over 10 s."""


class Report(Section):
    """The log line in which a running worker reports its configuration, and its fields."""

    message: str
    """The message of that line."""
    broker: str
    """Field with the scheme of the broker URL."""
    result_backend: str
    """Field with the scheme of the result backend URL."""
    eager: str
    """Field that is true in eager mode."""
    queues: str
    """Field with the names of the consumed queues."""


class WorkerSection(Section):
    """How to start a worker."""

    command: Command
    """``{queues}``, ``{pool}`` and ``{concurrency}`` are filled in."""
    pool: str
    """The pool of a worker, unless a check asks for another."""
    concurrency: Annotated[int, Field(ge=1)]
    """The number of child processes or threads, unless a check asks for another."""
    warm: Words = ()
    """Third-party modules, none of the system's own, that are imported once so that processes of
    proofs can be forked instead of started cold. Importing them must start no thread and read no
    setting. Without any, every process starts cold."""
    stop_signal: Annotated[str, Field(pattern=r"^SIG[A-Z0-9]+$")]
    """The signal of a warm shutdown."""
    role: str
    """The database role of its DSNs."""
    dsn: dict[str, DsnForm]
    """Maps environment variables to the form of their DSN."""
    broker: str
    """Name of the variable that sets the broker URL."""
    result_backend: str
    """Name of the variable that sets the result backend URL."""
    port: str
    """Name of the variable that sets the port of the endpoints."""
    eager: str
    """Name of the variable that switches eager mode on."""
    env: dict[str, str] = {}
    """Further environment variables, passed unchanged. The value of a variable with the name of a
    secret (`API_KEY`, `SMTP_PASSWORD`) is redacted everywhere."""
    secrets: Words = ()
    """Names of variables in `env` whose values are secrets too, whatever their names."""
    report: Report


class Timezones(Section):
    """The time zones of the parts of the system during a run.

    Give each part another one: a time that is stored or read without its zone is then wrong by
    hours, and the criteria that use it fail. Without a zone, a part has that of the machine or of
    the server.
    """

    database: str = ""
    """The zone of every session, unless the system sets another: a name that PostgreSQL knows, such
    as ``America/Bogota``."""
    worker: Timezone = ""
    """The zone of workers, as their variable `TZ`: a name, or a POSIX zone such as ``IST-5:30``,
    which needs no database of zones in an image."""
    publisher: Timezone = ""
    """The zone of publishers, as their variable `TZ`."""


class Ping(Section):
    """The task that the harness uses to see that a worker answers."""

    task: str
    """Name of the task."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of the ping."""
    expect: dict[str, Any]
    """A part of its result that must be present."""
    fail: dict[str, Any]
    """Arguments with which it fails."""
    fail_error: str
    """Class name of the exception that it then raises."""
    retry: dict[str, Any] = {}
    """Arguments with which it is retried once before it succeeds."""
    hold: dict[str, Any] = {}
    """Arguments with which it runs for a minute or more before it succeeds."""


class Reviewed(Section):
    """An object of the database that a person has reviewed."""

    digest: str
    """The digest of its definition, as the finding prints it; a changed definition has another."""
    reason: str
    """Why it leaks no rows of another tenant."""


class Tenancy(Section):
    """How tenants are separated."""

    guc: str
    """The setting that names the current tenant."""
    key: str
    """The column that names the tenant."""
    tables: Words | Literal["discover"]
    """Tables that hold rows of tenants, as SQL names them (`orders`, `sales."Order"`); or
    ``discover``: every table that has the key column."""
    context: dict[str, str] = {}
    """Further settings of a session that acts as a tenant, with their values. In a value,
    ``{tenant}`` is the tenant's id, and ``{uuid}`` a UUID that was never used."""
    seed: dict[str, dict[str, str]] = {}
    """Maps tables to columns and the SQL expression of their value in seeded rows, for tables whose
    constraints no synthesised row meets. The number `n` is another one in every row."""
    exceptions: Words = ()
    """Tables that have the key column but need no policy."""
    shared: dict[str, str] = {}
    """Maps each table that application roles may read, and that has no key column, to the reason
    why its rows belong to no tenant."""
    reviewed: dict[str, Reviewed] = {}
    """Maps policies, triggers, rules and functions to the review that accepted them."""

    @property
    def listed(self) -> Words:
        """The listed tables; none if they are discovered."""
        return () if isinstance(self.tables, str) else self.tables


class DeadLetters(Section):
    """Where failed tasks are stored."""

    table: str
    """The table of dead-letter rows."""
    former_table: str
    """Its name before the rename migration."""
    replay: Words = ()
    """Command that the operator's role runs to replay all dead-letter rows that can be replayed. It
    prints, among other lines, one JSON object per replayed row with its `task_id`. Without it, the
    replay cannot be judged."""


class Endpoints(Section):
    """The endpoints that every worker serves over HTTP."""

    metrics: str
    """Path of the metrics in Prometheus text format."""
    health: str
    """Path of the health report in JSON."""
    health_deadline_s: float
    """Seconds within which the health endpoint must answer."""


class Logs(Section):
    """Names of the fields and messages of the log lines."""

    timestamp: str = "timestamp"
    """Field of the timestamp: ISO 8601 with a time zone."""
    level: str = "level"
    """Field of the log level."""
    logger: str = "logger"
    """Field of the logger's name."""
    message: str
    """Field of the message."""
    task_name: str
    """Field of the task's name."""
    task_id: str
    """Field of the task's id."""
    tenant_id: str
    """Field of the tenant id."""
    correlation_id: str
    """Field of the correlation id."""
    error: str
    """Field of the error of a failed task."""
    success: str
    """Message of the line for a task that succeeded."""
    failure: str
    """Message of the line for a task that failed."""
    retry: str
    """Message of the line for a retry."""


class Image(Section):
    """The system's own image, for the environment `containers`."""

    dockerfile: str
    """The Dockerfile, relative to `Sut.root`, which is the build context."""
    context: Words
    """Files and folders, relative to `Sut.root`, that the image is built from."""
    folder: str
    """The folder of `Sut.root` inside the image."""
    python: str = "python"
    """The interpreter inside the image, which replaces ``{python}`` there."""
    volumes: tuple[InnerFolder, ...] = ()
    """Folders of the image, owned by its user, that processes may write to in addition to ``/tmp``.
    Their content is shared by all processes of the run and removed with it."""


class Sut(Section):
    """One system under test."""

    name: str
    """The name of the system in reports."""
    root: str
    """Working folder of every command, absolute or relative to this file."""
    sources: Words
    """Folders and files of the system's code; their digest binds a bundle to it."""
    gates: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Folders of gates, relative to `root`, or `pack:NAME`. Their catalogues are one. When the
    whole first folder is collected, so are all others. Without this key, or in a run of another
    folder, only the folder that the command names counts."""
    celery: Celery
    roles: Roles
    provision: Provision
    migrations: Migrations
    broker: Broker | None = None
    """Without it, claims about killed workers cannot be judged."""
    worker: WorkerSection
    timezones: Timezones = Timezones()
    ping: Ping
    queues: dict[str, Words]
    """Maps each queue to the names of its tasks: all tasks of the contract."""
    tenancy: Tenancy
    dead_letters: DeadLetters
    endpoints: Endpoints
    logs: Logs
    image: Image | None = None
    """How to build its image; without it, containers need a prebuilt image."""

    _path: Path = PrivateAttr()
    _digest: str = PrivateAttr()
    _folder: Path = PrivateAttr()

    @property
    def folder(self) -> Path:
        """The working folder of every command, absolute."""
        return self._folder

    @property
    def path(self) -> Path:
        """The path of the file."""
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

    @property
    def secrets(self) -> dict[str, str]:
        """Labels and values of the secrets in `WorkerSection.env`, passwords of its URLs too."""
        found: dict[str, str] = {}
        for number, (name, value) in enumerate(self.worker.env.items()):
            label = f"env-{number}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:40]}"
            if name in self.worker.secrets or is_secret_variable(name, value):
                found[label] = value
            password = password_of(value)
            if password:
                found[f"{label}-password"] = password
        return found

    def queue_of(self, task: str) -> str:
        """Return the queue of a task.

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
                    f"{self.folder} ({error.strerror}); correct the name or `root`"
                ) from error
        return texts

    def sources_digest(self) -> str:
        """Return the digest over the names and contents of the system's files.

        Compiled files are left out.
        """
        digest = hashlib.sha256()
        for source in self.sources:
            top = self.folder / source
            for path in [top] if top.is_file() else sorted(top.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    name = path.relative_to(self.folder).as_posix()
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                    digest.update(f"{content}  {name}\n".encode())
        return f"sha256:{digest.hexdigest()}"


def load_sut(path: Path) -> Sut:
    """Read and check a ``sut.toml``.

    Raises:
        BadInputError: the file cannot be read, is not TOML, has an unknown key or a wrong type.

    """
    try:
        raw = path.read_bytes()
        content = tomllib.loads(raw.decode("utf-8"))
    except OSError as error:
        raise BadInputError(
            f"{path}: sut file: cannot be read ({error.strerror}); name another with --sut"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: sut file: is not valid TOML ({error})") from error
    try:
        sut = Sut.model_validate(_tuples(content))
    except ValidationError as error:
        raise BadInputError(f"{path}: {_first(error)}; see docs/reference/sut.md") from error
    unknown = [name for name in sut.worker.secrets if name not in sut.worker.env]
    if unknown:
        raise BadInputError(
            f"{path}: worker.secrets: got {', '.join(unknown)}, expected names of variables in "
            "[worker.env]; correct the names or remove them"
        )
    sut._path = path.resolve()  # noqa: SLF001 (the one constructor)
    sut._folder = (sut._path.parent / sut.root).resolve()  # noqa: SLF001
    sut._digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"  # noqa: SLF001
    return sut


def _tuples(value: Any) -> Any:
    """Turn the arrays of TOML into tuples, which the strict model requires."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def _first(error: ValidationError) -> str:
    first = first_problem(error, before=("extra_forbidden", "missing"))
    if first.kind == "extra_forbidden":
        return f"{first.field}: unknown key; remove it or correct its spelling"
    if first.kind == "missing":
        return f"{first.field}: missing key; add it"
    return f"{first.field}: got {first.value!r}, expected: {first.message}"
