"""Starts the system: the environment, a migrated template database, and stacks cloned from it.

Everything starts at its first use, so that checks that need no server start none. A bring-up that
failed is not retried: each check that needs it gets the same error.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TypeVar

import psycopg

from gateproof.base.errors import EnvironmentProblemError, HarnessError, NotReadyError
from gateproof.base.skip import NotDescribedError
from gateproof.description.sut import Sut
from gateproof.environments.interface import CanRestart, Environment, Login, Server, require
from gateproof.environments.resource import (
    disk_problem,
    extension_problem,
    lacks_resources,
    missing_extension,
    temporary_folder_problem,
)
from gateproof.probes.recorder import Recorder
from gateproof.stack.existence import existing_names, refuse_missing_tables
from gateproof.stack.misnamed import explained
from gateproof.stack.stack import (
    Stack,
    StackContext,
    create_database,
    provision_database,
    provision_server,
)
from gateproof.stack.stopwatch import DATABASE, SERVER, Stopwatch
from gateproof.stack.watched import Watches
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.model import EnvironmentReport

TEMPLATE = "template"
WORKER_STARTS = 2
"""How often a worker is started until all checks that need one are given up."""

T = TypeVar("T")

Progress = Callable[[str], None]
"""Called with a line of progress at each step."""


@dataclass
class BringUp:
    """The running environment of one pytest process."""

    environment: Environment
    sut: Sut
    recorder: Recorder
    ready_deadline_s: float
    progress: Progress
    learn_secret: Callable[[str, str], None]
    """Called with each generated password before its first use."""
    watch: bool = True
    """Whether it is recorded which code of the system its processes use."""
    took_s: dict[str, float] = field(default_factory=dict)
    """Maps each step to its wall time in seconds."""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    worker_problem: str = ""
    """Why the first worker was not ready; empty if it was, or if none was started."""
    _worker_starts: int = 0
    _server: Server | None = None
    _template_server: Server | None = None
    _shared: Stack | None = None
    _problems: dict[str, HarnessError | BadInputError] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        files = self.environment.watched_files if self.watch else None
        folder = files / "watch" if files is not None else None
        self.watches = Watches(folder=folder, root=self.sut.folder, reads=self.sut.reads)
        """Which code of the system is used, and by what."""
        self.logins = {role: self._new_login(role) for role in self.sut.login_roles}
        self.context = StackContext(
            environment=self.environment,
            sut=self.sut,
            recorder=self.recorder,
            logins=self.logins,
            ready_deadline_s=self.ready_deadline_s,
            name_database=lambda: f"db{next(self._numbers)}",
            stopwatch=self.stopwatch,
            notes=self.watches.open_shared(),
        )
        self.migrating = replace(self.context, notes=self.watches.open_shared())
        """The context of the migrations of the template, on which every migrated stack depends."""

    def start(self) -> None:
        """Start the server, migrate a template database, and create the shared stack from it.

        Raises:
            HarnessError: a step failed; each call raises the same error.
            BadInputError: the description names a role or table that does not exist; likewise.

        """
        self.start_server()
        if self._shared is None:
            with self._remembered("migrations"):
                self._step("migrations", lambda: self._make_template(self._running()))
                self._shared = self._new_stack(self._running(), self.context)

    def start_server(self) -> None:
        """Start and provision the server, without running any migration.

        Raises:
            HarnessError: it could not be started; each call raises the same error.

        """
        if self._server is None:
            with self._remembered("server"):
                self._server = self._step("PostgreSQL", self._start_server)

    @contextmanager
    def _remembered(self, step: str) -> Iterator[None]:
        """Raise the error of an earlier attempt at a step again, instead of trying once more."""
        if step in self._problems:
            raise self._problems[step]
        try:
            yield
        except (HarnessError, BadInputError) as error:
            self._problems[step] = error
            raise
        except psycopg.Error as error:
            extension = missing_extension(str(error))
            if extension:
                self._problems[step] = extension_problem(extension)
                raise self._problems[step] from error
            kind = EnvironmentProblemError if lacks_resources(error) else NotReadyError
            problem = kind(f"provisioning SQL of {self.sut.path.name}: {error}")
            self._problems[step] = problem
            raise problem from error
        except OSError as error:
            if lacks_resources(error):
                self._problems[step] = temporary_folder_problem(error)
            else:  # a missing file, say: the machine is not at fault
                self._problems[step] = HarnessError(f"{step}: {type(error).__name__}: {error}")
            raise self._problems[step] from error

    def warm_up(self) -> None:
        """Start the worker of the shared stack, so that the first check need not wait for it.

        A worker that is not ready does not fail the bring-up: one criterion judges it, and the
        others that need it do not wait for it again.
        """
        if not all(map(self.sut.describes, ("worker", "celery", "ping", "task"))):
            return
        self._worker_starts += 1
        try:
            self._step("worker", lambda: self.shared().worker)
            self.worker_problem = ""
        except (HarnessError, AssertionError, OSError) as error:
            self.worker_problem = " ".join(str(error).split())
            self.progress(f"the worker is not ready: {error}")

    def lacks_worker(self) -> str:
        """Return why no worker answers, after one more attempt to start one; empty if one does."""
        if self.worker_problem and self._worker_starts < WORKER_STARTS:
            self.warm_up()
        return self.worker_problem

    def shared(self) -> Stack:
        """Return the shared stack, for checks that leave nothing behind."""
        self.start()
        assert self._shared is not None
        return self._shared

    def own_stack(
        self, *, own_server: bool = False, sut: Sut | None = None, warm: bool = False
    ) -> Stack:
        """Create a stack for one check alone; the caller disposes of it.

        Args:
            own_server: whether it needs its own server, for roles and server settings.
            sut: the description of a copy of the system; by default, of the system itself.
            warm: whether its processes may be forked, with the system's packages imported.

        """
        self.start()
        server = self._own_server() if own_server else self._running()
        return self._new_stack(server, self._own_context(sut, warm=warm))

    def empty_stack(
        self, *, own_server: bool = False, sut: Sut | None = None, warm: bool = False
    ) -> Stack:
        """Create a stack whose database is provisioned and not migrated; see `own_stack`.

        It needs no migration to succeed, except for a server of its own.
        """
        self.start_server()
        server = self._own_server() if own_server else self._running()
        context = self._own_context(sut, warm=warm)
        name = context.name_database()
        with self.stopwatch.step(DATABASE):
            create_database(server, name)
            provision_database(context.sut, server, name)
        return Stack(context=context, server=server, database=name)

    def new_folder(self) -> Path:
        """Return the path of a new folder that the system's processes will be able to read."""
        return self.environment.files / f"copy-{next(self._numbers)}"

    def explained(self, error: BaseException) -> NotDescribedError | None:
        """Return the key of the description whose wrong name caused an error of a check, if any."""

        def names_of(kind: str) -> set[str]:
            stack = self._shared
            return existing_names(stack.server, stack.database, kind) if stack else set()

        try:
            return explained(self.sut, error, names_of)
        except psycopg.Error:  # a server that is away explains nothing
            return None

    def still_answers(self) -> bool | None:
        """Return whether the environment's server answers; None if there is none yet."""
        return self._server.answers() if self._server is not None else None

    def disk_problem(self) -> str:
        """Return why the disk of the environment's files is full; empty if it is not."""
        return disk_problem(self.environment.files)

    def report(self) -> EnvironmentReport:
        """Return the description of the environment for the bundle."""
        return self.environment.report()

    def identity(self) -> dict[str, object]:
        """Return what tells this environment from another one: another may give other results."""
        report = self.report()
        return {
            "kind": report.kind,
            "postgres": report.postgres,
            "python": report.python,
            "platform": report.platform,
            "images": dict(self.environment.images),
        }

    def dispose(self) -> None:
        """Stop everything."""
        if self._shared is not None:
            self._shared.stop_processes()
            self._shared.sql.close()
        self.environment.dispose()

    # --- steps -------------------------------------------------------------------------------

    def _start_server(self) -> Server:
        server = self.environment.new_server("main")
        at = f"{server.outside.host}:{server.outside.port}"
        self._note(f"PostgreSQL {self.report().postgres}", f"started at {at}")
        provision_server(self.sut, server, self.logins)
        files = ", ".join(self.sut.provision.server)
        self._note("roles", f"provisioned by {files or 'no file of the description'}")
        return server

    def _make_template(self, server: Server) -> None:
        create_database(server, TEMPLATE)
        provision_database(self.sut, server, TEMPLATE)
        if self.sut.describes("migrations"):
            self._migrate_template(server)
        if self.sut.describes("migrations") or self.sut.provision.database:
            refuse_missing_tables(self.sut, server, TEMPLATE)

    def _migrate_template(self, server: Server) -> None:
        stack = Stack(context=self.migrating, server=server, database=TEMPLATE)
        done = stack.migrate(self.sut.migrations.all)
        stack.sql.close()  # nothing may be connected to a database that is copied
        extension = missing_extension(done.output) if done.exit_status != 0 else ""
        if extension:
            raise extension_problem(extension)
        if done.exit_status != 0:
            raise NotReadyError(
                f"migrations: got exit {done.exit_status}, expected 0: {done.cause}; run the "
                f"command of {self.sut.path.name} [migrations] by hand to see more"
            )

    def _new_stack(self, server: Server, context: StackContext) -> Stack:
        name = context.name_database()
        with self.stopwatch.step(DATABASE):
            create_database(server, name, template=TEMPLATE)
            provision_database(context.sut, server, name)
        return Stack(context=context, server=server, database=name)

    def _own_context(self, sut: Sut | None, *, warm: bool) -> StackContext:
        own = sut or self.sut
        return replace(self.context, sut=own, warm=warm, notes=self.watches.open(own.folder))

    def _own_server(self) -> Server:
        """Copy a stopped server, which is prepared when a check first asks for one."""
        with self.stopwatch.step(SERVER):
            if self._template_server is None:
                self._template_server = self.environment.new_server("server-template")
                provision_server(self.sut, self._template_server, self.logins)
                self._make_template(self._template_server)
                require(self._template_server, CanRestart, "a server of its own").halt()
            return self.environment.copy_server(self._template_server, "own")

    def _running(self) -> Server:
        assert self._server is not None
        return self._server

    def _note(self, what: str, how: str) -> None:
        """Record in the journal what was provisioned, so that the bundle lists everything."""
        line = f"{what}: {how}"
        data = {"provisioned": what, "how": how}
        self.recorder.observe("environment", line, data=data, text=f"{line}\n")

    def _step(self, name: str, act: Callable[[], T]) -> T:
        self.progress(f"starting {name} ...")
        began = time.monotonic()
        result = act()
        self.took_s[name] = time.monotonic() - began
        self.progress(f"{name} ready after {self.took_s[name]:.1f} s")
        return result

    def _new_login(self, role: str) -> Login:
        login = Login(role=role, password=secrets.token_urlsafe(18))
        self.learn_secret(f"password-{role}", login.password)
        return login
