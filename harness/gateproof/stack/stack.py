"""A stack: one database and the processes of the system that use it.

Owns the probes of a check (`sql`, `tasks`, `http`, `process`) and the workers. Stacks are fast to
create, because the database is cloned from a migrated template, and are thrown away as a whole: a
proof can break its stack without affecting any other check.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql as pgsql

from gateproof.base.errors import EnvironmentProblemError, HarnessError, NotReadyError
from gateproof.base.wait import wait_until
from gateproof.description.celery import STARTED_BROKER
from gateproof.description.sut import Sut
from gateproof.environments.cause import cause_of
from gateproof.environments.interface import (
    Address,
    CanDisconnect,
    CanPause,
    CanRestart,
    Completed,
    Environment,
    Launcher,
    Login,
    Server,
    require,
)
from gateproof.guest import program
from gateproof.probes.http import HttpProbe
from gateproof.probes.log import LogFilter
from gateproof.probes.process import ProcessProbe
from gateproof.probes.recorder import Recorder
from gateproof.probes.sql import SqlProbe
from gateproof.probes.task import TaskProbe
from gateproof.probes.worker import Worker
from gateproof.stack import system_process
from gateproof.stack.existence import refuse_missing_roles
from gateproof.stack.guest_load import (
    CELERY_LOADER,
    MARK,
    PROBE_TASKS,
    REPORT,
    SEARCH_PATH,
    Entry,
    GuestLoad,
)
from gateproof.stack.http_relay import HttpRelay
from gateproof.stack.relay import Relay
from gateproof.stack.stopwatch import DATABASE, PROCESSES, Stopwatch
from gateproof.stack.system_process import SystemProcess
from gateproof.stack.watched import Notes, watched

POOL_PREFORK, POOL_SOLO = "prefork", "solo"
REPORT_DEADLINE_S = 30.0
NOT_LOADED = (
    "module loaded into the system: got no report from a worker, expected one; Celery reads the "
    "variable CELERY_LOADER unless the app names a loader itself"
)
INHERITED = (SEARCH_PATH, CELERY_LOADER)
"""Variables that `GuestLoad` sets in addition to a value of the image."""


@dataclass(frozen=True, kw_only=True)
class StackContext:
    """The objects and settings that all stacks of a run share."""

    environment: Environment
    sut: Sut
    recorder: Recorder
    logins: Mapping[str, Login]
    """Maps each role to its login."""
    ready_deadline_s: float
    """Within how many seconds a worker must answer a ping."""
    name_database: Callable[[], str]
    stopwatch: Stopwatch
    notes: Notes | None = None
    """Which code of the system the processes run; None if they are not watched."""
    warm: bool = False
    """Whether processes may be forked, with the system's packages imported."""

    @property
    def launcher(self) -> Launcher:
        """The launcher of the system's commands."""
        found = self.environment.warm if self.warm else self.environment.launcher
        return watched(found, self.notes)


@dataclass(frozen=True, kw_only=True)
class Running:
    """The processes of a stack that run and are ready."""

    worker: bool = False
    """Whether the default worker has answered a ping."""
    publishers: frozenset[tuple[tuple[str, str], ...]] = frozenset()
    """The sets of variables of the publishers."""


@dataclass
class Stack:
    """One database, its workers, its publisher and the probes on them."""

    context: StackContext
    server: Server
    database: str
    settings: dict[str, str] = field(default_factory=dict)
    """Variables of every process of this stack; a `settings` fault changes them."""
    script: str = ""
    """A shell script that starts described processes, of a fault; empty for none."""
    _workers: list[Worker] = field(default_factory=list)
    _processes: list[SystemProcess] = field(default_factory=list)
    _default_worker: Worker | None = None
    _default_ready: bool = False
    _left_as_is: Worker | None = None
    _inside: Address | None = None
    _publishers: dict[tuple[tuple[str, str], ...], TaskProbe] = field(default_factory=dict)
    _databases: list[str] = field(default_factory=list)
    _of_new_databases: list[tuple[str, str | None]] = field(default_factory=list)
    _front: HttpRelay | None = None
    _log_filter: LogFilter | None = None

    def __post_init__(self) -> None:
        self.sut = self.context.sut
        self.recorder = self.context.recorder
        self.sql = SqlProbe(self.recorder, self.dsn, schemas=self._schemas, keeps=True)
        self.http = HttpProbe(self.recorder)
        self.process = ProcessProbe(self.recorder, self.context.launcher, env=self.sut.env)
        self._databases.append(self.database)
        self._load = self._own_load()

    # --- the database ------------------------------------------------------------------------

    def dsn(self, role: str | None = None, *, database: str | None = None) -> str:
        """Return the DSN of a database for the harness; the role None is the superuser."""
        return self._login(role).dsn(self.server.outside, database or self.database)

    def inner_dsn(
        self,
        role: str,
        *,
        form: str = "postgresql",
        database: str | None = None,
        through: Address | None = None,
    ) -> str:
        """Return the DSN of a database for the system's processes.

        Args:
            role: the role that logs in.
            form: the scheme of the URL.
            database: another database than the stack's.
            through: another address of the server, such as that of a relay.

        """
        address = through or self.inside
        return self._login(role).dsn(address, database or self.database, form=form)

    @property
    def inside(self) -> Address:
        """The address of the server for the system's processes: its own, or that of a relay."""
        return self._inside or self.server.inside

    def sql_on(self, database: str) -> SqlProbe:
        """Return a probe for another database of the same server."""
        return SqlProbe(
            self.recorder, lambda role: self.dsn(role, database=database), schemas=self._schemas
        )

    @property
    def _schemas(self) -> Sequence[str]:
        return self.sut.database.schemas if self.sut.describes("database") else ()

    def empty_database(self) -> str:
        """Create a provisioned database without migrations, and return its name."""
        name = self.context.name_database()
        create_database(self.server, name)
        self._databases.append(name)
        provision_database(self.sut, self.server, name)
        for statement, role in self._of_new_databases:
            self.sql_on(name).execute(statement, role=role)
        return name

    def change_new_databases(self, statement: str, *, role: str | None) -> None:
        """Run a statement in each database that `empty_database` creates from now on.

        Args:
            statement: one or more SQL statements.
            role: the role that runs them; None for the superuser.

        """
        self._of_new_databases.append((statement, role))

    def cloned_database(self) -> str:
        """Clone this stack's database as it is now, and return the name of the clone.

        PostgreSQL allows no connections to the original during cloning: stop the workers first.
        """
        name = self.context.name_database()
        self.sql.close()
        create_database(self.server, name, template=self.database)
        self._databases.append(name)
        provision_database(self.sut, self.server, name)
        return name

    def migrate(
        self, revision: str, *, down: bool = False, database: str | None = None
    ) -> Completed:
        """Run the system's own migration command; the caller judges the exit status."""
        described, role = self.sut.migrations, self.sut.database.owner
        command = self.sut.fill_migration(revision, down=down)
        env = {
            name: self.inner_dsn(role, form=form, database=database)
            for name, form in described.dsn.items()
        }
        return self.process.run(command, env={**env, **self.settings}, folder=self.sut.folder)

    def rebuild(self) -> None:
        """Create the database again with the present migrations in the system's folder.

        Raises:
            HarnessError: the migrations failed.

        """
        self.stop_processes()
        with self.context.stopwatch.step(DATABASE):
            drop_database(self.server, self.database)
            create_database(self.server, self.database)
            provision_database(self.sut, self.server, self.database)
            if not self.sut.describes("migrations"):
                return
            done = self.migrate(self.sut.migrations.all)
        if done.exit_status != 0:
            raise HarnessError(f"migrations: got exit {done.exit_status}, expected 0: {done.cause}")

    # --- processes ---------------------------------------------------------------------------

    @property
    def worker(self) -> Worker:
        """The stack's default worker, which has answered a ping through the queue.

        A worker that has exited is replaced, unless a fault stopped it.
        """
        if self._left_as_is is not None:
            return self._left_as_is
        if self._default_worker is None or not self._default_worker.alive:
            self._default_worker, self._default_ready = self.start_worker(), False
        if not self._default_ready:
            self.wait_ready(self._default_worker)
            self._default_ready = True
        return self._default_worker

    @property
    def tasks(self) -> TaskProbe:
        """The publisher to this stack's broker, without further variables."""
        return self.publisher()

    def publisher(self, env: Mapping[str, str] | None = None) -> TaskProbe:
        """Return a publisher with further variables; one is started for each set of variables."""
        key = tuple(sorted((env or {}).items()))
        if key not in self._publishers:
            command = [self.sut.interpreter, "-c", program("publisher"), self.sut.celery.app]
            command += [PROBE_TASKS] if self.sut.injects_probe else []
            with self.context.stopwatch.step(PROCESSES):
                conversation = self.context.launcher.converse(
                    command,
                    env={**_zone(self.sut.timezones.publisher), **self.worker_environment(env)},
                    folder=self.sut.folder,
                )
            self._publishers[key] = TaskProbe(
                self.recorder,
                conversation,
                prefix=self.sut.celery.task_prefix,
                never=self.sut.never_published,
                probe_queues=tuple(self.sut.queues) if self.sut.injects_probe else (),
            )
        return self._publishers[key]

    def worker_environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a worker or publisher: DSNs, fixed variables and settings.

        With it, a process loads what the harness loads into the system, see `GuestLoad`.
        """
        self._refuse_other_broker()
        worker = self.sut.worker
        dsns = {name: self.inner_dsn(worker.role, form=form) for name, form in worker.dsn.items()}
        launcher = self.context.environment.launcher
        inherited = {name: launcher.variable(name) for name in INHERITED}
        variables = {**self.sut.env, **dsns, **worker.env, **(env or {}), **self.settings}
        return self._load.applied(variables, inherited)

    def _refuse_other_broker(self) -> None:
        """Refuse to start what needs a broker that this version does not start."""
        kind = self.sut.broker.kind if self.sut.describes("broker") else STARTED_BROKER
        if kind != STARTED_BROKER:
            raise EnvironmentProblemError(
                f"broker.kind: got {kind}, expected {STARTED_BROKER}: this version starts no other "
                "broker; run the gates that start no worker, such as rls and schema"
            )

    def start_worker(
        self,
        *,
        queues: Sequence[str] | None = None,
        pool: str | None = None,
        concurrency: int | None = None,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        name: str | None = None,
        share_port: Worker | None = None,
    ) -> Worker:
        """Start a worker; `wait_ready` waits until it answers.

        Args:
            queues: the queues that it consumes; by default, all of the contract.
            pool: ``prefork``, ``solo`` or ``threads``; by default, that of the system.
            concurrency: number of children or threads; by default, that of the system.
            options: further options of its command.
            env: further environment variables.
            name: name in messages and file names.
            share_port: a worker whose port it tries to use too; by default it gets a free one.

        """
        described = self.sut.worker
        launcher = self.context.launcher
        port = share_port.port if share_port else launcher.free_port()
        consumed = tuple(queues or self.sut.queues)
        pool = pool or described.pool
        command = [*self._worker_command(consumed, pool, concurrency), *options]
        environment = {
            **self._port_variable(port),
            **_zone(self.sut.timezones.worker),
            **self.worker_environment(env),
        }
        name = name or f"worker-{len(self._workers) + 1}"
        with self.context.stopwatch.step(PROCESSES):
            process = launcher.start(
                name,
                command,
                env=environment,
                folder=self.sut.folder,
                share_network=share_port.process if share_port else None,
            )
        url = launcher.base_url(process, port)
        worker = Worker(
            self.recorder,
            self.sut,
            process,
            name=name,
            url=self.in_front_of(url),
            port=port,
            queues=consumed,
            pool=pool,
            log_filter=self._log_filter,
        )
        self._workers.append(worker)
        return worker

    def _port_variable(self, port: int) -> dict[str, str]:
        described = self.sut.describes("worker.port")
        return {self.sut.worker.port: str(port)} if described else {}

    def _worker_command(
        self, queues: Sequence[str], pool: str, concurrency: int | None
    ) -> list[str]:
        described = self.sut.worker
        return self.sut.fill(
            described.command,
            queues=",".join(queues),
            pool=pool,
            concurrency=concurrency or described.concurrency,
            probe=PROBE_TASKS,
        )

    @contextmanager
    def running_worker(self, **options: Any) -> Iterator[Worker]:
        """Start a worker like `start_worker`, without waiting, and kill it after the block."""
        worker = self.start_worker(**options)
        try:
            yield worker
        finally:
            worker.dispose()

    def start_process(
        self,
        name: str,
        *,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        through: Address | None = None,
    ) -> SystemProcess:
        """Start a process that a `[[process]]` describes; its `wait_ready` waits for an answer.

        It ends with the stack at the latest.

        Args:
            name: its name in the description.
            env: further environment variables.
            files: further files, in addition to or in place of the described ones.
            through: another address of the database, such as that of a relay.

        """
        with self.context.stopwatch.step(PROCESSES):
            process = system_process.start(
                self._home(),
                self.sut.process_named(name),
                env=env or {},
                files=files or {},
                through=through,
            )
        self._processes.append(process)
        return process

    def _home(self) -> system_process.Home:
        return system_process.Home(
            sut=self.sut,
            environment=self.context.environment,
            recorder=self.recorder,
            http=self.http,
            commands=self.process,
            settings=self.settings,
            ready_deadline_s=self.context.ready_deadline_s,
            inner_dsn=self.inner_dsn,
            in_front_of=self.in_front_of,
            notes=self.context.notes,
            script=self.script,
        )

    @contextmanager
    def running_process(self, name: str, **options: Any) -> Iterator[SystemProcess]:
        """Start a process like `start_process`, wait until it is ready, and kill it at the end.

        Raises:
            NotReadyError: it is not ready; the message has the end of its output.

        """
        process = self.start_process(name, **options)
        try:
            process.wait_ready()
            yield process
        finally:
            process.dispose()

    def wait_ready(self, worker: Worker, *, env: Mapping[str, str] | None = None) -> None:
        """Wait until the worker has answered a ping through the broker, up to the run's deadline.

        A worker that does not serve the queue of the ping is ready when it has logged its report.

        Raises:
            NotReadyError: it exited, or it did not answer; the message says which.

        """
        with self.context.stopwatch.step(PROCESSES):
            if self.sut.queue_of(self.sut.ping.task) not in worker.queues:
                worker.report()
                return
            self._wait_for_answer(worker, env)

    def _wait_for_answer(self, worker: Worker, env: Mapping[str, str] | None) -> None:
        ping = self.sut.ping
        deadline_s = self.context.ready_deadline_s
        publisher = self.publisher(env)
        task_id = publisher.publish(ping.task, (), ping.arguments)

        def poll() -> bool:
            if not worker.alive:
                return True
            return not publisher.result(task_id, deadline_s=1.0).timed_out

        answered = wait_until(poll, deadline_s=deadline_s, interval_s=0.01)
        if not worker.alive:
            cause = cause_of("\n".join(worker.log().lines))
            raise NotReadyError(f"{worker.name} exited during its start: {cause}")
        if not answered:
            raise NotReadyError(
                f"{worker.name}: got no answer to a ping within {deadline_s:g} s from a running "
                "process, expected one; read its log, or raise --ready-deadline on a slow machine"
            )

    # --- the server --------------------------------------------------------------------------

    @contextmanager
    def server_stopped(self) -> Iterator[None]:
        """Stop the stack's own server during the block: connections are refused.

        Publishers end with it: a check of workers must not fail by the connection of a publisher.
        """
        server = require(self.server, CanRestart, "stopping PostgreSQL")
        self._note_server("stop it and keep its data")
        self.sql.close()
        server.halt()
        try:
            yield
        finally:
            server.resume_service()
            self._note_server("start it again")
            self._close_publishers()

    @contextmanager
    def server_paused(self) -> Iterator[None]:
        """Pause the stack's own server during the block: connections hang, none is refused."""
        server = require(self.server, CanPause, "pausing PostgreSQL")
        self._note_server("pause it")
        self.sql.close()
        server.pause()
        try:
            yield
        finally:
            server.resume()
            self._note_server("resume it")

    @contextmanager
    def server_disconnected(self) -> Iterator[None]:
        """Disconnect the stack's own server from the network during the block: packets are lost."""
        server = require(self.server, CanDisconnect, "disconnecting PostgreSQL")
        self._note_server("disconnect it from the network")
        server.disconnect()
        try:
            yield
        finally:
            server.reconnect()
            self._note_server("reconnect it to the network")

    def _note_server(self, act: str) -> None:
        data = {"server": f"{self.server.outside.host}:{self.server.outside.port}", "act": act}
        self.recorder.observe(
            "environment",
            f"PostgreSQL {data['server']}: {act}",
            data=data,
            text=f"PostgreSQL at {data['server']}: {act}\n",
        )

    def comment_on_database(self, text: str) -> None:
        """Change the comment on the database, which nothing but a person reads."""
        statement = pgsql.SQL("COMMENT ON DATABASE {} IS {}")
        _as_superuser(
            self.server,
            self.database,
            statement.format(pgsql.Identifier(self.database), pgsql.Literal(text)),
        )

    # --- faults ------------------------------------------------------------------------------

    def leave_worker_as_is(self) -> Worker:
        """Keep the default worker in any state, do not replace it, and return it."""
        self._left_as_is = self.worker
        return self._left_as_is

    @property
    def is_left_as_is(self) -> bool:
        """Whether the default worker is kept for a fault."""
        return self._left_as_is is not None

    def route_through(self, relay: Address) -> None:
        """Stop the processes, and give those that start later another address of the server."""
        self.stop_processes()
        self._inside = relay

    def start_relay(self) -> Relay:
        """Start a relay to the stack's server, by the route that its processes use at present."""
        return Relay.start(self.context.launcher, self.inside, folder=self.sut.folder)

    def put_in_front(self, relay: HttpRelay) -> None:
        """Stop the processes, and put a relay before the endpoints of workers that start later."""
        self.stop_processes()
        self._front = relay

    def in_front_of(self, url: str) -> str:
        """Return the URL to use for endpoints: that of a relay before them, if there is one."""
        return self._front.in_front_of(url) if self._front else url

    def start_by(self, script: str) -> None:
        """Stop the processes, and start described ones by a shell script from now on.

        Args:
            script: the text of the script; its arguments are the words of the command.

        """
        self.stop_processes()
        self.script = script

    @property
    def front(self) -> HttpRelay:
        """The relay before the endpoints, which a fault put there."""
        assert self._front is not None, "premise: a fault put a relay before the endpoints"
        return self._front

    def filter_logs(self, log_filter: LogFilter) -> None:
        """Stop the processes, and read the logs of workers that start later through a filter."""
        self.stop_processes()
        self._log_filter = log_filter

    @property
    def log_filter(self) -> LogFilter:
        """The filter of the logs, which a fault put there."""
        assert self._log_filter is not None, "premise: a fault put a filter on the logs"
        return self._log_filter

    def change_settings(self, variables: Mapping[str, str]) -> None:
        """Stop the processes, and set variables for those that start later.

        Later processes are not forked, see `StackContext.launcher`.
        """
        self.settings.update(variables)
        self.context = replace(self.context, warm=False)
        self.process = ProcessProbe(self.recorder, self.context.launcher, env=self.sut.env)
        self.stop_processes()

    def load(self, entry: Entry, sources: Mapping[str, str]) -> None:
        """Stop the processes; those that start later load this too.

        Args:
            entry: an entry of the list of `gateproof.guest.loader`.
            sources: maps the name of each module that it needs to its text.

        """
        self.stop_processes()
        self._load = self._load.with_entry(entry, sources)

    @property
    def loaded(self) -> tuple[Entry, ...]:
        """The entries that the processes load, in order."""
        return self._load.entries

    def report_of_loaded(self, entry: Entry, sources: Mapping[str, str], *, pool: str = "") -> str:
        """Start a worker that reports what an entry has changed, and exits without a connection.

        Args:
            entry: an entry of the list of `gateproof.guest.loader`; only it is loaded.
            sources: maps the name of each module that it needs to its text.
            pool: the pool of the worker; by default, that of the system.

        Returns:
            The JSON of the report.

        Raises:
            HarnessError: the worker did not report; Celery reads no loader from its environment.

        """
        described, launcher = self.sut.worker, self.context.environment.launcher
        loads = self._load
        self._load = self._own_load().with_entry(entry, sources)
        env = {
            **self._port_variable(launcher.free_port()),
            **_zone(self.sut.timezones.worker),
            **self.worker_environment(),
            REPORT: "1",
        }
        self._load = loads
        # One queue alone: a change that consumes others must show.
        command = self._worker_command(tuple(self.sut.queues)[:1], pool or described.pool, None)
        try:
            done = self.process.run(
                command, env=env, folder=self.sut.folder, deadline_s=REPORT_DEADLINE_S
            )
        except NotReadyError as error:
            raise HarnessError(NOT_LOADED) from error
        found = re.search(rf"{MARK}([A-Za-z0-9+/=]+)", done.output)
        if found is None:
            raise HarnessError(f"{NOT_LOADED}; the worker printed: {done.cause}")
        return zlib.decompress(base64.b64decode(found[1])).decode()

    def _own_load(self) -> GuestLoad:
        """Return what the description alone loads: the probe tasks, if it asks for them."""
        load = GuestLoad(files=self.context.environment.files)
        if not self.sut.injects_probe:
            return load
        worker = self.sut.worker
        by_loader = not any("{probe}" in word for word in worker.command)
        return load.with_probe_tasks(
            tuple(worker.dsn),
            by_loader=by_loader,
            report_ends=not self.sut.describes("logs"),
        )

    def seen_environment(self, names: Sequence[str]) -> str:
        """Return variables, as JSON, from the environment of a newly started process."""
        code = (
            "import os, json, sys; print(json.dumps({n: os.environ.get(n) for n in sys.argv[1:]}))"
        )
        done = self.process.run(
            [self.sut.interpreter, "-c", code, *names],
            env=self.worker_environment() if self.sut.describes("worker") else self.settings,
            folder=self.sut.folder,
        )
        return done.output.strip()

    @property
    def running(self) -> Running:
        """Which processes run and are ready."""
        worker = self._default_worker
        return Running(
            worker=worker is not None and worker.alive and self._default_ready,
            publishers=frozenset(self._publishers),
        )

    def start_like(self, running: Running) -> None:
        """Start the processes that another stack had running.

        Raises:
            NotReadyError: the worker exited, or it did not answer.

        """
        for variables in running.publishers:
            self.publisher(dict(variables))
        if running.worker:
            _ = self.worker

    def stop_processes(self) -> None:
        """Stop workers and publishers, which start again at their next use, and other processes."""
        self._close_publishers()
        for worker in self._workers:
            worker.dispose()
        for process in self._processes:
            process.dispose()
        self._workers.clear()
        self._processes.clear()
        self._default_worker = self._left_as_is = None

    def _close_publishers(self) -> None:
        for publisher in self._publishers.values():
            publisher.close()
        self._publishers.clear()

    def dispose(self) -> None:
        """Stop the processes and drop the databases."""
        self.stop_processes()
        self.sql.close()
        if self._front is not None:
            self._front.stop()
        for name in self._databases:
            drop_database(self.server, name)

    def _login(self, role: str | None) -> Login:
        if role is None:
            return self.server.superuser
        if role not in self.context.logins:
            known = ", ".join(self.context.logins)
            raise HarnessError(f"role: got {role}, expected one of {known}")
        return self.context.logins[role]


# --- databases -------------------------------------------------------------------------------


def create_database(server: Server, name: str, *, template: str = "template0") -> None:
    """Create a database from a template."""
    statement = pgsql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        pgsql.Identifier(name), pgsql.Identifier(template)
    )
    _as_superuser(server, "postgres", statement)


def drop_database(server: Server, name: str) -> None:
    """Drop a database and close its connections; do nothing if the server does not answer."""
    if server.answers():
        statement = pgsql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        _as_superuser(server, "postgres", statement.format(pgsql.Identifier(name)))


def provision_server(sut: Sut, server: Server, logins: Mapping[str, Login]) -> None:
    """Set the described time zone, run the system's server-wide SQL, and set all passwords.

    The zone holds for every role and database, so that copies and clones have it too.

    Raises:
        BadInputError: the description names a role that does not exist then.

    """
    if zone := sut.timezones.database:
        template = pgsql.SQL("ALTER ROLE ALL SET timezone TO {}")
        _as_superuser(server, "postgres", template.format(pgsql.Literal(zone)))
    for text in sut.read_sql(sut.provision.server):
        _as_superuser(server, "postgres", pgsql.SQL(text))
    refuse_missing_roles(sut, server)
    for login in logins.values():
        statement = pgsql.SQL("ALTER ROLE {} PASSWORD {}")
        filled = statement.format(pgsql.Identifier(login.role), pgsql.Literal(login.password))
        _as_superuser(server, "postgres", filled)


def provision_database(sut: Sut, server: Server, name: str) -> None:
    """Create the described extensions and run the system's SQL, as superuser; clones need it."""
    described = sut.describes("database")
    for extension in sut.database.extensions if described else ():
        statement = pgsql.SQL("CREATE EXTENSION IF NOT EXISTS {}")
        _as_superuser(server, name, statement.format(pgsql.Identifier(extension)))
    for text in sut.read_sql(sut.provision.database):
        _as_superuser(server, name, pgsql.SQL(text))


def _zone(zone: str) -> dict[str, str]:
    """Return the variable that sets the time zone of a process; none leaves it as it is."""
    return {"TZ": zone} if zone else {}


def _as_superuser(server: Server, database: str, statement: pgsql.SQL | pgsql.Composed) -> None:
    dsn = server.superuser.dsn(server.outside, database)
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
        connection.execute(statement)
