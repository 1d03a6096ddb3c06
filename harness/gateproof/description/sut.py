"""The description of the system under test: the whole of a ``sut.toml``.

Owns the top level of the file, what it says about features, and the placeholders of commands
(``{python}`` and the like). Leaves reading the file to `gateproof.description.reading`, and
starting processes to `gateproof.stack.stack`.

Source: docs/reference/sut.md.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from gateproof.base.errors import InconclusiveError
from gateproof.base.skip import NotApplicableError, NotDescribedError
from gateproof.description.celery import PROBE_PREFIX, Broker, Celery, Ping, Task
from gateproof.description.database import (
    DISCOVER,
    Database,
    DeadLetters,
    Migrations,
    Provision,
    Tenancy,
)
from gateproof.description.key import example_of, meaning_of, nearest
from gateproof.description.observability import PROBE_ENDS, EndNames, Health, Logs, Metrics
from gateproof.description.process import Image, Process, Service, Timezones, Worker
from gateproof.description.section import (
    UNDESCRIBED,
    Day,
    DsnForm,
    Section,
    Words,
    mapping,
    optional,
    required,
)
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.redaction.secret import is_secret_variable, password_of

PACK = "pack:"
"""Begins an entry of `Sut.gates` that names a pack instead of a folder."""
FALSIFIERS = "falsifiers.toml"
"""The name of the file with the system's own falsifiers."""


REVISION = "{revision}"
"""The word of a migration command in whose place the words of a revision stand."""
_VIEW_OWNER = "database.view_owner"
_ROLES = (
    *("database.owner", "worker.role", "dead_letters.operator", "dead_letters.reader"),
    *("database.roles", _VIEW_OWNER, "process.role", "process.request.role"),
)
_TABLES = (
    *("tenancy.tables", "tenancy.exceptions", "tenancy.seed", "dead_letters.table"),
    "process.request.table",
)


class Absent(Section):
    """A person's statement that the system does not have a feature."""

    feature: str = required("dead_letters")
    """A key of this file, in dots: a table such as ``dead_letters``, or a key of one."""
    reason: str = required("failures are only logged; accepted in ADR 12")
    """Why the system does without it; reports quote it."""
    owner: str = required("platform team")
    """The person or team that answers for the statement."""
    expires: Day = required("2027-06-30")
    """The last day, in UTC, on which it counts."""

    @property
    def words(self) -> str:
        """The statement in one line."""
        return f"{self.feature} is declared absent: {self.reason} ({self.owner})"

    def counts_on(self, day: date) -> bool:
        """Return whether the statement has not expired."""
        return date.fromisoformat(self.expires) >= day

    def covers(self, key: str) -> bool:
        """Return whether a key is the feature, or a part of it."""
        return f"{key}.".startswith(f"{self.feature}.")


class LeftOut(Section):
    """A person's decision that a criterion of the gates is not claimed for the system."""

    criterion: str = required("BRK-06")
    """The id of the criterion. It is not applicable, and neither it nor its proofs run."""
    reason: str = required("the library ignores options that it does not know; accepted in ADR 7")
    """Why it is not claimed; reports quote it."""
    owner: str = required("platform team")
    """The person or team that answers for the decision."""
    expires: Day = required("2027-06-30")
    """The last day, in UTC, on which it counts."""

    @property
    def words(self) -> str:
        """The decision in one line."""
        return f"{self.criterion} is left out: {self.reason} ({self.owner})"

    def counts_on(self, day: date) -> bool:
        """Return whether the decision has not expired."""
        return date.fromisoformat(self.expires) >= day


class Replaced(Section):
    """A person's decision that a check of the project judges a criterion instead of its pack's."""

    criterion: str = required("BRK-06")
    """The id of the criterion. The check next to its catalogue is not collected; one with the same
    id in another folder of `gates` is, and has falsifiers of its own."""
    reason: str = required("our transport refuses options when it connects, not before")
    """Why the pack's check does not fit; reports quote it."""
    owner: str = required("platform team")
    """The person or team that answers for the decision."""
    expires: Day = required("2027-06-30")
    """The last day, in UTC, on which it counts; then the check of the pack judges again."""

    def counts_on(self, day: date) -> bool:
        """Return whether the decision has not expired."""
        return date.fromisoformat(self.expires) >= day


class Sut(Section):
    """One system under test."""

    version: Literal[2] = 2
    """The version of this format."""
    name: str = required("orders")
    """The name of the system in reports."""
    root: str = required(".")
    """Working folder of every command, absolute or relative to this file."""
    python: str = optional("venv/bin/python")
    """The system's interpreter, relative to `root`: it runs ``{python}``, the publisher, imports
    and Celery commands. Without it, the interpreter of the harness does. In containers, that of
    the image does."""
    env: dict[str, str] = mapping()
    """Environment variables of every command of the system, passed unchanged. The value of a
    variable with the name of a secret is redacted everywhere."""
    sources: Words = ()
    """Folders and files of the system's code, relative to `root`; their digest binds a bundle to
    it, and proofs copy them. Without it, all that is in `root`, except files that a `.gitignore`
    excludes, virtual environments, and bundles."""
    reads: dict[str, Words] = mapping()
    """Maps a program that is no Python interpreter to the files and folders that it reads, relative
    to `root`. It is not watched: without an entry, a check or proof that starts it depends on all
    files of the system, and `--changed` repeats it after any change."""
    gates: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Folders of gates, relative to `root`, or `pack:NAME`. Their catalogues are one. When the
    whole first folder is collected, so are all others. Without this key, or in a run of another
    folder, only the folder that the command names counts."""
    absent: tuple[Absent, ...] = ()
    """Features that the system does not have."""
    left_out: tuple[LeftOut, ...] = ()
    """Criteria that are not claimed for the system, although it has all that they need."""
    replaced: tuple[Replaced, ...] = ()
    """Criteria that a check of the project judges, instead of the one of their pack."""
    database: Database = optional({"owner": "app_owner"})
    migrations: Migrations = optional({"up": ["{python}", "migrate.py"]})
    celery: Celery = optional({"app": "app.celery:app"})
    broker: Broker = optional({"kind": "sqla"})
    worker: Worker = optional({"role": "app_user"})
    timezones: Timezones = Timezones()
    ping: Ping = optional({"task": "orders.tasks.ping"})
    task: dict[str, Task] = optional({"orders.tasks.ping": {"queue": "celery"}})
    """All tasks of the contract by name."""
    tenancy: Tenancy = optional({"guc": "app.tenant_id", "key": "tenant_id"})
    dead_letters: DeadLetters = optional({"table": "failed_jobs"})
    metrics: Metrics = optional({"path": "/metrics"})
    health: Health = optional({"path": "/health"})
    logs: Logs = optional({"message": "message"})
    process: tuple[Process, ...] = optional([{"name": "web"}])
    """Other processes of the system."""
    service: dict[str, Service] = optional({"redis": {"image": "redis:7"}})
    """Services that the system needs, by name."""
    phases: dict[str, Words] = optional({"order": ["alpha"], "alpha": ["RLS-*"]})
    """Maps each phase to ids of its criteria, or patterns of ids with ``*``, ``?`` and ``[...]``;
    ``order`` lists the phases in their order. Each criterion that has no phase in its own file must
    match. Without this table such criteria are one phase, ``all``."""
    image: Image = optional({"dockerfile": "Dockerfile"})

    _path: Path = PrivateAttr(default=Path())
    _digest: str = PrivateAttr(default="")
    _folder: Path = PrivateAttr(default=Path())
    _interpreter: str = PrivateAttr(default=sys.executable)
    _today: date = PrivateAttr(default=date.min)

    def locate(self, path: Path, *, digest: str, today: date) -> None:
        """Set where the description was read, and the day on which absences are judged."""
        self._path, self._digest, self._today = path, digest, today
        self._folder = (path.parent / self.root).resolve()
        python = self.values()["python"]
        # A link of a virtual environment must not be followed: it is what makes the environment.
        self._interpreter = sys.executable if python is UNDESCRIBED else str(self._folder / python)
        self.set_place("", self._problem_of)

    @property
    def folder(self) -> Path:
        """The working folder of every command, absolute."""
        return self._folder

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._path

    @property
    def falsifiers(self) -> Path:
        """The path of the system's own falsifiers, next to the file; it need not exist."""
        return self._path.with_name(FALSIFIERS)

    @property
    def inner_path(self) -> Path:
        """The path of the file relative to `folder`, for checks that copy or change it.

        Raises:
            InconclusiveError: the file is outside of `root`, which all other checks allow.

        """
        if not self._path.is_relative_to(self._folder):
            raise InconclusiveError(
                f"{self._path}: got it outside of root ({self._folder}), expected it inside: this "
                "check works on a copy of the project; move the file or change root"
            )
        return self._path.relative_to(self._folder)

    @property
    def digest(self) -> str:
        """Digest of the file's bytes."""
        return self._digest

    @property
    def interpreter(self) -> str:
        """The interpreter of the system, absolute."""
        return self._interpreter

    def moved_to(self, folder: Path) -> Sut:
        """Return the description of a copy of the system in another folder."""
        moved = self.model_copy()
        moved._folder = folder  # noqa: SLF001 (of the same class)
        if self._path.is_relative_to(self._folder):
            moved._path = folder / self._path.relative_to(self._folder)  # noqa: SLF001 (likewise)
        return moved

    # --- features ----------------------------------------------------------------------------

    def describes(self, key: str) -> bool:
        """Return whether the file describes a key, given in dots, or the key has a default."""
        return self.absence_of(key) is None and self.value_of(key) is not UNDESCRIBED

    def value_of(self, key: str) -> Any:
        """Return the value of a key in dots, or `UNDESCRIBED`.

        Below a list of tables, it is a list of the values in those tables that have the key.
        """
        return self._value_in(self, key.split("."))

    def _value_in(self, value: Any, names: list[str]) -> Any:
        while names:
            if isinstance(value, tuple):
                found = [self._value_in(one, [*names]) for one in value]
                known = tuple(one for one in found if one is not UNDESCRIBED)
                return known or UNDESCRIBED
            if isinstance(value, Mapping):  # names of tasks have dots
                return value.get(".".join(names), UNDESCRIBED)
            if not isinstance(value, Section):
                return UNDESCRIBED
            name = names.pop(0)
            if name in value.named_by_default and names:
                return value.values()[name].get(".".join(names), ".".join(names))
            value = value.values().get(name, UNDESCRIBED)
        return value

    @property
    def absences(self) -> tuple[Absent, ...]:
        """The features that are declared absent and whose statements have not expired."""
        return tuple(one for one in self.absent if one.counts_on(self._today))

    @property
    def expired_absences(self) -> tuple[Absent, ...]:
        """The statements that no longer count."""
        return tuple(one for one in self.absent if not one.counts_on(self._today))

    @property
    def left_out_now(self) -> tuple[LeftOut, ...]:
        """The criteria that are left out by decisions that have not expired."""
        return tuple(one for one in self.left_out if one.counts_on(self._today))

    @property
    def expired_left_out(self) -> tuple[LeftOut, ...]:
        """The decisions that no longer count."""
        return tuple(one for one in self.left_out if not one.counts_on(self._today))

    @property
    def replaced_now(self) -> tuple[Replaced, ...]:
        """The criteria whose checks are replaced by decisions that have not expired."""
        return tuple(one for one in self.replaced if one.counts_on(self._today))

    @property
    def expired_replaced(self) -> tuple[Replaced, ...]:
        """The decisions about checks that no longer count."""
        return tuple(one for one in self.replaced if not one.counts_on(self._today))

    def absence_of(self, key: str) -> Absent | None:
        """Return the statement that a feature is absent; None if there is none that counts."""
        return next((one for one in self.absences if one.covers(key)), None)

    def unlock(self, key: str) -> str:
        """Return in one line what is missing, what it means, and an example of it."""
        lines = example_of(Sut, key).splitlines()
        return (
            f"{key}: got no such key in {self._path.name}, expected it for this criterion "
            f"({meaning_of(Sut, key)}); describe it, for example {', '.join(lines)}, or declare "
            "it in [[absent]]"
        )

    def _problem_of(self, key: str) -> BaseException:
        absent = self.absence_of(key)
        if absent is not None:
            return NotApplicableError(absent.words)
        return NotDescribedError(self.unlock(key))

    # --- what follows from several keys ------------------------------------------------------

    @property
    def queues(self) -> dict[str, Words]:
        """The queues, in the order of the file, each with its tasks."""
        found: dict[str, Words] = {}
        for name, task in self.task.items():
            found[task.queue] = (*found.get(task.queue, ()), name)
        return found

    @property
    def tasks(self) -> Words:
        """Every task of the contract, in the order of the file."""
        return tuple(self.task)

    @property
    def never_published(self) -> frozenset[str]:
        """The tasks that the harness must never publish."""
        described = self.task if self.describes("task") else {}
        return frozenset(name for name, one in described.items() if one.never)

    @property
    def injects_probe(self) -> bool:
        """Whether the harness loads the probe tasks into the system."""
        worker = self.value_of("worker")
        return isinstance(worker, Worker) and worker.probe == "inject"

    @property
    def ends(self) -> EndNames:
        """The names in the lines about ends of tasks: the described ones, or the probe's.

        Raises:
            NotDescribedError: no log lines are described, and the probe tasks are not loaded.

        """
        if self.injects_probe and not self.describes("logs"):
            return PROBE_ENDS
        names = self.logs
        return EndNames(
            message=names.message,
            success=names.success,
            failure=names.failure,
            task_id=names.task_id,
            task_name=names.task_name,
        )

    def queue_of(self, task: str) -> str:
        """Return the queue of a task; probe tasks go to the first queue, unless another is given.

        Raises:
            KeyError: the contract has no such task.

        """
        if self.injects_probe and task.startswith(PROBE_PREFIX) and self.queues:
            return next(iter(self.queues))
        return self.task[task].queue

    @property
    def login_roles(self) -> Words:
        """The roles that get a password: all that any key names, except view owners, each once."""
        named = (role for key, role in self.named_roles() if key != _VIEW_OWNER)
        return tuple(dict.fromkeys(named))

    def named_roles(self) -> Iterator[tuple[str, str]]:
        """Yield each key that names a role of the database, and the role."""
        return self._named(_ROLES)

    def named_tables(self) -> Iterator[tuple[str, str]]:
        """Yield each key that names a table which the migrations create, and the table."""
        for key, name in self._named(_TABLES):
            if name != DISCOVER:
                yield key, name
        if self.describes("task"):
            for task, one in self.task.items():
                found = one.values()["idempotent"]
                if found is not UNDESCRIBED:
                    yield f'task."{task}".idempotent.table', found.table

    def _named(self, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
        for key in keys:
            value = self.value_of(key) if self.describes(key) else ()
            yield from ((key, name) for name in dict.fromkeys(_flat(value)))

    @property
    def processes(self) -> tuple[Process, ...]:
        """The other processes; none if none is described."""
        return self.process if self.describes("process") else ()

    def process_named(self, name: str) -> Process:
        """Return another process of the system by its name.

        Raises:
            NotDescribedError: no process is described.
            InconclusiveError: none has the name.

        """
        for one in self.process:
            if one.name == name:
                return one
        known = nearest(name, (one.name for one in self.process))
        raise InconclusiveError(
            f"process: name: got {name}, expected one of {self._path.name} such as {known}; "
            "correct the name or describe the process"
        )

    def dsns_of(self, process: Process) -> dict[str, DsnForm]:
        """Return the variables with a DSN of a process: its own, or those of the worker."""
        own = process.values()["dsn"]
        if own is not UNDESCRIBED:
            return dict(own)
        return dict(self.worker.dsn) if self.describes("worker") else {}

    def role_of(self, process: Process) -> str:
        """Return the database role of a process: its own, or that of the worker."""
        own = process.values()["role"]
        return self.worker.role if own is UNDESCRIBED else str(own)

    @property
    def application_roles(self) -> Words:
        """The roles of `login_roles` that do not own the schema: policies must bind them."""
        owner = self.value_of("database.owner")
        return tuple(role for role in self.login_roles if role != owner)

    @property
    def role_names(self) -> dict[str, str]:
        """Map places to roles, for statements that are generated from the description.

        ``role`` is the first application role, ``second`` the second and ``last`` the last one, or
        the first if there are fewer; ``owner`` is the owner of the schema. Empty without an
        application role.
        """
        roles = self.application_roles
        if not roles:
            return {}
        second, last = roles[1:2] or roles[:1], roles[-1]
        owner = str(self.value_of("database.owner")) if self.describes("database.owner") else last
        return {"role": roles[0], "second": second[0], "last": last, "owner": owner}

    @property
    def view_owners(self) -> Words:
        """The role that owns the materialized views, if one is described."""
        return (self.database.view_owner,) if self.describes(_VIEW_OWNER) else ()

    @property
    def known_tables(self) -> Words:
        """Every table that the file names as one of the broker, of tenants or of dead letters."""
        keys = ("broker.tables", "tenancy.tables")
        named = [name for key in keys if self.describes(key) for name in self.value_of(key)]
        rows = "dead_letters.table"
        more = [self.value_of(rows)] if self.describes(rows) else []
        return tuple(dict.fromkeys(name for name in (*named, *more) if name != DISCOVER))

    @property
    def provision(self) -> Provision:
        """The SQL files of the database; none if no database is described."""
        found = self.value_of("database.provision")
        return found if isinstance(found, Provision) else Provision()

    @property
    def named_files(self) -> Words:
        """The files and folders, relative to the system's, that must exist for a run of it."""
        image = self.value_of("image")
        dockerfile = (image.dockerfile,) if isinstance(image, Image) else ()
        listed = [process.values()["request"] for process in self.processes]
        requests = [one for some in listed if isinstance(some, tuple) for one in some]
        of_requests = [name for one in requests for name in one.named_files.values()]
        of_programs = [name for names in self.reads.values() for name in names]
        provision = (*self.provision.server, *self.provision.database)
        return (*provision, *dockerfile, *of_requests, *of_programs)

    @property
    def secrets(self) -> dict[str, str]:
        """Labels and values of the secrets in all variables, passwords of their URLs too."""
        found: dict[str, str] = {}
        worker = self.value_of("worker")
        own = worker if isinstance(worker, Worker) else None
        variables = [*self.env.items(), *(own.env.items() if own else ())]
        named = {*(own.secrets if own else ())}
        for one in self.processes:
            variables += one.env.items()
            named |= {*one.secrets}
            files = enumerate(one.files.values())
            found |= {f"file-{one.name}-{number}": text for number, text in files if text}
        for number, (name, value) in enumerate(variables):
            label = f"env-{number}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:40]}"
            if name in named or is_secret_variable(name, value):
                found[label] = value
            password = password_of(value)
            if password:
                found[f"{label}-password"] = password
        return found

    def fill(self, command: Iterable[str], **values: object) -> list[str]:
        """Return a command's words with its placeholders filled in."""
        return [word.format(python=self._interpreter, **values) for word in command]

    def fill_migration(self, revision: str, *, down: bool = False) -> list[str]:
        """Return the command that migrates to a revision; each of its words is one of the command.

        Args:
            revision: as the description names it, such as ``heads`` or ``orders 0002``.
            down: whether the command removes migrations.

        """
        words = self.migrations.down if down else self.migrations.up
        filled: list[str] = []
        for word in words:
            filled += revision.split() if word == REVISION else self.fill([word], revision=revision)
        return filled

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


def _flat(value: Any) -> Iterator[str]:
    """Yield the texts of a text, of a list, or of lists in a list."""
    if isinstance(value, str):
        yield value
        return
    for one in value:
        yield from _flat(one)
