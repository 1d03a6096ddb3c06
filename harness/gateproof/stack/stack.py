"""A stack: one database and the system's processes that work on it.

Owns what a check uses: `sql`, `tasks`, `http`, `process`, and workers. Stacks are cheap (a database
cloned from a migrated template) and thrown away whole; a proof breaks one and nobody else notices.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql as pgsql

from gateproof.base.errors import HarnessError, NotReadyError
from gateproof.base.sut import Sut
from gateproof.base.wait import wait_until
from gateproof.environments.interface import (
    Address,
    CanCut,
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
from gateproof.probes.process import ProcessProbe
from gateproof.probes.recorder import Recorder
from gateproof.probes.sql import SqlProbe
from gateproof.probes.task import TaskProbe
from gateproof.probes.worker import Worker

POOL_PREFORK, POOL_SOLO = "prefork", "solo"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all stacks of a run share."""

    environment: Environment
    sut: Sut
    recorder: Recorder
    logins: Mapping[str, Login]
    """Role to its login."""
    ready_deadline_s: float
    """How long a worker may take until it answers a ping, in seconds."""
    name_database: Callable[[], str]
    warm: bool = False
    """Whether processes may be forked, with the system's packages imported."""

    def launcher(self, env: Mapping[str, str] | None = None) -> Launcher:
        """Return what starts the system's commands.

        Args:
            env: variables beside the system's own. A package may have read one when it was
                imported, so a process that gets any starts cold.

        """
        return self.environment.warm if self.warm and not env else self.environment.launcher


@dataclass
class Stack:
    """One database, its workers, its publisher and the probes on them."""

    around: Surroundings
    server: Server
    database: str
    settings: dict[str, str] = field(default_factory=dict)
    """Variables that every process started here gets; a `settings` fault changes them."""
    _workers: list[Worker] = field(default_factory=list)
    _default_worker: Worker | None = None
    _default_ready: bool = False
    _left_as_is: Worker | None = None
    _inside: Address | None = None
    _publishers: dict[tuple[tuple[str, str], ...], TaskProbe] = field(default_factory=dict)
    _databases: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sut = self.around.sut
        self.recorder = self.around.recorder
        self.sql = SqlProbe(self.recorder, self.dsn)
        self.http = HttpProbe(self.recorder)
        self.process = ProcessProbe(self.recorder, self.around.launcher())
        self._databases.append(self.database)

    # --- the database ------------------------------------------------------------------------

    def dsn(self, role: str | None = None, *, database: str | None = None) -> str:
        """Return the DSN at which the harness reaches a database; None as role is the superuser."""
        return self._login(role).dsn(self.server.outside, database or self.database)

    def inner_dsn(self, role: str, *, form: str = "postgresql", database: str | None = None) -> str:
        """Return the DSN at which the system's processes reach a database."""
        address = self._inside or self.server.inside
        return self._login(role).dsn(address, database or self.database, form=form)

    def sql_on(self, database: str) -> SqlProbe:
        """Return a probe on another database of the same server."""
        return SqlProbe(self.recorder, lambda role: self.dsn(role, database=database))

    def empty_database(self) -> str:
        """Make a provisioned database without any migration, and return its name."""
        name = self.around.name_database()
        create_database(self.server, name)
        self._databases.append(name)
        provision_database(self.sut, self.server, name)
        return name

    def cloned_database(self) -> str:
        """Make another clone of this stack's database as it is now, and return its name.

        Connections to the original are not allowed while it is cloned: stop its workers first.
        """
        name = self.around.name_database()
        create_database(self.server, name, template=self.database)
        self._databases.append(name)
        provision_database(self.sut, self.server, name)
        return name

    def migrate(
        self, revision: str, *, down: bool = False, database: str | None = None
    ) -> Completed:
        """Run the system's own migration command; its exit status is for the caller to judge."""
        how = self.sut.migrations
        command = self.sut.fill(how.downgrade if down else how.upgrade, revision=revision)
        env = {
            name: self.inner_dsn(how.role, form=form, database=database)
            for name, form in how.dsn.items()
        }
        return self.process.run(command, env={**env, **self.settings}, folder=self.sut.folder)

    def rebuild(self) -> None:
        """Make the database anew, by the migrations as they stand now in the system's folder.

        Raises:
            HarnessError: they could not be run.

        """
        self.stop_processes()
        drop_database(self.server, self.database)
        create_database(self.server, self.database)
        provision_database(self.sut, self.server, self.database)
        done = self.migrate(self.sut.migrations.all)
        if done.exit_status != 0:
            last = (done.output.strip().splitlines() or ["it printed nothing"])[-1]
            raise HarnessError(f"migrations: got exit {done.exit_status}, expected 0: {last}")

    # --- processes ---------------------------------------------------------------------------

    @property
    def worker(self) -> Worker:
        """The stack's default worker, ready: it has answered a ping through the queue.

        One that ended is followed by another, unless a fault ended it.
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
        """Publishes to this stack's broker."""
        return self.publisher()

    def publisher(self, env: Mapping[str, str] | None = None) -> TaskProbe:
        """Return a publisher whose environment has further variables; started once for each."""
        key = tuple(sorted((env or {}).items()))
        if key not in self._publishers:
            command = [sys.executable, "-c", program("publisher")]
            conversation = self.around.launcher(env).converse(
                [*command, self.sut.celery.app],
                env=self.worker_environment(env),
                folder=self.sut.folder,
            )
            self._publishers[key] = TaskProbe(
                self.recorder, conversation, prefix=self.sut.celery.task_prefix
            )
        return self._publishers[key]

    def worker_environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a worker or publisher: DSNs, fixed variables, settings."""
        how = self.sut.worker
        dsns = {name: self.inner_dsn(how.role, form=form) for name, form in how.dsn.items()}
        return {**dsns, **how.env, **(env or {}), **self.settings}

    def start_worker(
        self,
        *,
        queues: Sequence[str] | None = None,
        pool: str | None = None,
        concurrency: int | None = None,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        name: str | None = None,
        beside: Worker | None = None,
    ) -> Worker:
        """Start a worker; `wait_ready` waits until it answers.

        Args:
            queues: what it consumes; all of the contract's by default.
            pool: ``prefork``, ``solo`` or ``threads``; the system's own by default.
            concurrency: children or threads; the system's own by default.
            options: further words of its command.
            env: further environment variables.
            name: for people and file names.
            beside: a worker whose port it wants too; by default it gets a free one.

        """
        how = self.sut.worker
        launcher = self.around.launcher(env)
        port = beside.port if beside else launcher.free_port()
        chosen = tuple(queues or self.sut.queues)
        pool = pool or how.pool
        command = self.sut.fill(
            how.command,
            queues=",".join(chosen),
            pool=pool,
            concurrency=concurrency or how.concurrency,
        )
        command = [*command, *options]
        environment = {how.port: str(port), **self.worker_environment(env)}
        name = name or f"worker-{len(self._workers) + 1}"
        process = launcher.start(
            name,
            command,
            env=environment,
            folder=self.sut.folder,
            beside=beside.process if beside else None,
        )
        worker = Worker(
            self.recorder,
            self.sut,
            process,
            name=name,
            url=launcher.base_url(process, port),
            port=port,
            queues=chosen,
            pool=pool,
        )
        self._workers.append(worker)
        return worker

    @contextmanager
    def running_worker(self, **options: Any) -> Iterator[Worker]:
        """Start a worker as `start_worker` does and end it with the block; do not wait for it."""
        worker = self.start_worker(**options)
        try:
            yield worker
        finally:
            worker.dispose()

    def wait_ready(self, worker: Worker, *, env: Mapping[str, str] | None = None) -> None:
        """Wait until a ping published through the broker comes back, up to the run's deadline.

        A worker that does not serve the ping's queue counts as ready once it has reported.

        Raises:
            NotReadyError: it exited, or no ping came back; the message says which.

        """
        ping = self.sut.ping
        if self.sut.queue_of(ping.task) not in worker.queues:
            worker.report()
            return
        deadline_s = self.around.ready_deadline_s
        publisher = self.publisher(env)
        task_id = publisher.publish(ping.task, (), ping.arguments)

        def look() -> bool:
            if not worker.alive:
                return True
            return not publisher.result(task_id, deadline_s=1.0).timed_out

        answered = wait_until(look, deadline_s=deadline_s, interval_s=0.01)
        if not worker.alive:
            last = (worker.log().lines or ("it printed nothing",))[-1]
            raise NotReadyError(f"{worker.name} exited while it started: {last}")
        if not answered:
            raise NotReadyError(
                f"{worker.name}: no ping came back within {deadline_s:g} s though the process "
                "lives; read its log, or raise --ready-deadline on a slow machine"
            )

    # --- the server --------------------------------------------------------------------------

    @contextmanager
    def server_away(self) -> Iterator[None]:
        """Stop the stack's own server for the block: connections are refused."""
        server = require(self.server, CanRestart, "stopping PostgreSQL")
        self._note_server("stop it, keeping its data")
        server.halt()
        try:
            yield
        finally:
            server.resume_service()
            self._note_server("start it again")

    @contextmanager
    def server_frozen(self) -> Iterator[None]:
        """Freeze the stack's own server for the block: connections hang, none is refused."""
        server = require(self.server, CanPause, "freezing PostgreSQL")
        self._note_server("freeze it")
        server.pause()
        try:
            yield
        finally:
            server.resume()
            self._note_server("let it go on")

    @contextmanager
    def server_cut(self) -> Iterator[None]:
        """Cut the stack's own server from the network for the block: nothing arrives there."""
        server = require(self.server, CanCut, "cutting PostgreSQL from the network")
        self._note_server("cut it from the network")
        server.cut()
        try:
            yield
        finally:
            server.mend()
            self._note_server("bring it back to the network")

    def _note_server(self, act: str) -> None:
        data = {"server": f"{self.server.outside.host}:{self.server.outside.port}", "act": act}
        self.recorder.observe(
            "environment",
            f"PostgreSQL {data['server']}: {act}",
            data=data,
            text=f"PostgreSQL at {data['server']}: {act}\n",
        )

    # --- faults ------------------------------------------------------------------------------

    def leave_worker_as_is(self) -> Worker:
        """Have the default worker stay whatever becomes of it, and return it."""
        self._left_as_is = self.worker
        return self._left_as_is

    @property
    def is_left_as_is(self) -> bool:
        """Whether a fault acts on the default worker."""
        return self._left_as_is is not None

    def lead_through(self, relay: Address) -> None:
        """Have processes that start from now on reach the server at another address."""
        self.stop_processes()
        self._inside = relay

    def change_settings(self, variables: Mapping[str, str]) -> None:
        """Have every process that starts from now on see these variables; stop the old ones.

        None of them is forked any more, see `Surroundings.launcher`.
        """
        self.settings.update(variables)
        self.around = replace(self.around, warm=False)
        self.process = ProcessProbe(self.recorder, self.around.launcher())
        self.stop_processes()

    def seen_environment(self, names: Sequence[str]) -> str:
        """Return variables as a process that the stack starts now has them."""
        code = (
            "import os, json, sys; print(json.dumps({n: os.environ.get(n) for n in sys.argv[1:]}))"
        )
        done = self.process.run(
            [sys.executable, "-c", code, *names],
            env=self.worker_environment(),
            folder=self.sut.folder,
        )
        return done.output.strip()

    def stop_processes(self) -> None:
        """End workers and publishers; they start again when asked for."""
        for publisher in self._publishers.values():
            publisher.close()
        for worker in self._workers:
            worker.dispose()
        self._publishers.clear()
        self._workers.clear()
        self._default_worker = self._left_as_is = None

    def dispose(self) -> None:
        """End the processes and drop the databases."""
        self.stop_processes()
        for name in self._databases:
            drop_database(self.server, name)

    def _login(self, role: str | None) -> Login:
        if role is None:
            return self.server.superuser
        if role not in self.around.logins:
            known = ", ".join(self.around.logins)
            raise HarnessError(f"role: got {role}, expected one of {known}")
        return self.around.logins[role]


# --- databases -------------------------------------------------------------------------------


def create_database(server: Server, name: str, *, template: str = "template0") -> None:
    """Create a database as a copy of another."""
    statement = pgsql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        pgsql.Identifier(name), pgsql.Identifier(template)
    )
    _as_superuser(server, "postgres", statement)


def drop_database(server: Server, name: str) -> None:
    """Drop a database, ending its connections; nothing happens where the server has gone."""
    if server.answers():
        statement = pgsql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        _as_superuser(server, "postgres", statement.format(pgsql.Identifier(name)))


def provision_server(sut: Sut, server: Server, logins: Mapping[str, Login]) -> None:
    """Run the system's server-wide SQL as superuser and give every login role its password."""
    for text in sut.read_sql(sut.provision.server):
        _as_superuser(server, "postgres", pgsql.SQL(text))
    for login in logins.values():
        statement = pgsql.SQL("ALTER ROLE {} PASSWORD {}")
        filled = statement.format(pgsql.Identifier(login.role), pgsql.Literal(login.password))
        _as_superuser(server, "postgres", filled)


def provision_database(sut: Sut, server: Server, name: str) -> None:
    """Run the system's SQL for each database as superuser; a clone needs it again."""
    for text in sut.read_sql(sut.provision.database):
        _as_superuser(server, name, pgsql.SQL(text))


def _as_superuser(server: Server, database: str, statement: pgsql.SQL | pgsql.Composed) -> None:
    dsn = server.superuser.dsn(server.outside, database)
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
        connection.execute(statement)
