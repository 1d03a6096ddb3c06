"""Starts a worker of a drafted description for a moment, and watches it run tasks.

Owns the tasks that are published and the order of the watch. Leaves what is read from it to the
modules next to it, and starting the system to `gateproof.stack.bring_up`.
"""

from __future__ import annotations

import datetime as dt
import secrets
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from gateproof.base.errors import HarnessError
from gateproof.base.wait import wait_until
from gateproof.description.sut import Sut
from gateproof.draft.database import read_catalogue
from gateproof.draft.watched.backlog import Backlog, backlog_of
from gateproof.draft.watched.endpoint import Endpoints, endpoints_of
from gateproof.draft.watched.lease import measured_lease_s
from gateproof.draft.watched.lines import Lines, with_value
from gateproof.draft.watched.metrics import Names, Ran, counts_of, names_of
from gateproof.draft.watched.rows import Failed, KeptRows, kept_rows
from gateproof.environments.embedded import Embedded
from gateproof.probes.recorder import Recorder
from gateproof.probes.worker import Worker
from gateproof.stack.bring_up import BringUp
from gateproof.stack.stack import Stack
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.redaction.redactor import Redactor

READY_DEADLINE_S = 60.0
RESULT_DEADLINE_S, LOG_DEADLINE_S, NO_JSON_DEADLINE_S = 10.0, 10.0, 1.0
"""How long a result may take, the lines about it, and the first line in JSON of any kind."""
SETTLED_DEADLINE_S, ROW_DEADLINE_S = 5.0, 2.0
PLAIN, FAILING = 3, 2
"""How many tasks succeed at once, and how many fail. One more is held, one is retried once: so the
numbers of runs, successes, failures and retries all differ."""
HELD_S = 0.3
MESSAGE = "ping failure requested"
"""The message of the exception of a ping that is asked to fail."""

NUMBERS = {"integer", "bigint", "smallint"}
"""The types of whole numbers."""
_KINDS = "SELECT data_type FROM information_schema.columns WHERE column_name = %s"

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """All that was seen of a worker that ran tasks."""

    lines: Lines
    endpoints: Endpoints
    names: Names
    """The names of its metrics."""
    kept: KeptRows
    """The table in which it kept the failed tasks."""
    backlog: Backlog
    """The metrics about that table."""
    lease_s: float | None
    """Seconds after which the message of a killed worker came back; None if it was not seen."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """The ids of the published tasks."""

    succeeded: Sequence[str]
    failed: Sequence[str]
    retried: str
    tenant: str | int
    """Empty if the tasks got none."""
    began: float
    """When the first one was published, as `time.monotonic`."""

    @property
    def all(self) -> tuple[str, ...]:
        """All ids."""
        return (*self.succeeded, *self.failed, self.retried)


def watch(sut: Sut, *, has_lease: bool, progress: Progress) -> Watched:
    """Run a worker with some tasks and return what it shows.

    Args:
        sut: a description with a database, migrations, an app, a worker and tasks.
        has_lease: whether the message of a killed worker may come back, so that it is worth a wait.
        progress: called with a line at each step.

    Raises:
        HarnessError: the system did not start.

    """
    with _bringing_up(sut, progress) as bring_up:
        try:
            stack = bring_up.shared()
            progress("watching a worker run tasks ...")
            seen = _watched(stack)
            stack.stop_processes()
        except AssertionError as error:
            raise HarnessError(f"worker: {error}") from error
        if not has_lease:
            return seen
        progress("killing a worker in the middle of a task ...")
        try:
            lease_s = _lease_s(bring_up.own_stack())
        except (AssertionError, HarnessError, psycopg.Error) as error:
            progress(f"no lease was measured: {str(error).splitlines()[0]}")
            return seen
        return replace(seen, lease_s=lease_s)


@contextmanager
def _bringing_up(sut: Sut, progress: Progress) -> Iterator[BringUp]:
    redactor = Redactor()
    with tempfile.TemporaryDirectory() as folder:
        environment = Embedded(reason="gateproof init", learn_secret=redactor.add_secret)
        path = Path(folder) / "journal.jsonl"
        with closing(Journal(path, writer="init", clock=_now)) as journal:
            bring_up = BringUp(
                environment=environment,
                sut=sut,
                recorder=Recorder(journal, redactor, Path(folder)),
                ready_deadline_s=READY_DEADLINE_S,
                progress=progress,
                learn_secret=redactor.add_secret,
            )
            try:
                yield bring_up
            finally:
                bring_up.dispose()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _watched(stack: Stack) -> Watched:
    """Publish the tasks, and read lines, endpoints, metrics and rows."""
    worker = stack.worker
    endpoints = endpoints_of(stack, worker)
    before = _scrape_at_rest(stack, worker, endpoints)
    sent = _publish(stack)
    lines = _lines(stack, worker, sent)
    names = _names(stack, worker, endpoints, before, sent)
    kept, backlog = _rows(stack, sent, before, lambda: _scrape(stack, worker, endpoints))
    return Watched(
        lines=lines, endpoints=endpoints, names=names, kept=kept, backlog=backlog, lease_s=None
    )


def _rows(
    stack: Stack, sent: Sent, before: str, scrape: Callable[[], str]
) -> tuple[KeptRows, Backlog]:
    """Return what the rows of failed tasks show; nothing if the database cannot be read."""
    catalogue = read_catalogue(stack.dsn())
    try:
        with psycopg.connect(stack.dsn(), autocommit=True) as connection:
            failed = _failed(stack, sent)
            kept = wait_until(  # a row can be written after the result of its task
                lambda: kept_rows(connection, catalogue, failed),
                lambda found: bool(found.table),
                deadline_s=ROW_DEADLINE_S,
                interval_s=0.5,
            )
            return kept, backlog_of(connection, catalogue, kept, sent.failed, before, scrape)
    except psycopg.Error:
        return KeptRows(), Backlog()


def _publish(stack: Stack) -> Sent:
    """Publish the tasks and wait for their results."""
    ping, began = stack.sut.ping, time.monotonic()
    more = _tenant(stack)

    def send(arguments: Mapping[str, Any]) -> str:
        given = {**ping.arguments, **more, **arguments}
        return stack.tasks.publish(ping.task, (), given, retry=False)

    held = dict.fromkeys(ping.hold, HELD_S)
    sent = Sent(
        succeeded=[send({}) for _ in range(PLAIN)] + [send(held)],
        failed=[send(ping.fail) for _ in range(FAILING)],
        retried=send(ping.retry),
        tenant=next(iter(more.values()), ""),
        began=began,
    )
    for one in sent.all:
        stack.tasks.result(one, deadline_s=RESULT_DEADLINE_S)
    return sent


def _tenant(stack: Stack) -> dict[str, str | int]:
    """Return the argument that names a tenant that was never used, of the type of its column."""
    if not stack.sut.describes("tenancy.key"):
        return {}
    key = stack.sut.tenancy.key
    kinds = set(stack.sql.query(_KINDS, (key,)).column())
    number = secrets.randbelow(10**6) + 10**6
    return {key: number if kinds and kinds <= NUMBERS else str(uuid.uuid4())}


def _failed(stack: Stack, sent: Sent) -> Failed:
    ping = stack.sut.ping
    return Failed(
        task_id=sent.failed[-1],
        task=ping.task,
        queue=stack.sut.queue_of(ping.task),
        kwargs=ping.fail,
        error=ping.fail_error,
        message=MESSAGE,
        tenant=sent.tenant,
        others=tuple(sent.succeeded),
    )


def _lines(stack: Stack, worker: Worker, sent: Sent) -> Lines:
    first = wait_until(lambda: worker.log().entries(), deadline_s=NO_JSON_DEADLINE_S)
    log = wait_until(
        worker.log,
        lambda seen: all(with_value(seen.entries(), one) for one in sent.all),
        deadline_s=LOG_DEADLINE_S if first else 0.0,
        interval_s=0.5,
    )
    ping = stack.sut.ping
    return Lines(
        entries=tuple(log.entries()),
        task=ping.task,
        succeeded=sent.succeeded[0],
        failed=sent.failed[0],
        retried=sent.retried,
        tenant=str(sent.tenant),
        error=ping.fail_error,
        queues=tuple(stack.sut.queues),
    )


def _scrape(stack: Stack, worker: Worker, endpoints: Endpoints) -> str:
    """Return the metrics of the worker; empty without an endpoint."""
    path = endpoints.metrics
    return stack.http.get(worker.url + path).body if path else ""


def _scrape_at_rest(stack: Stack, worker: Worker, endpoints: Endpoints) -> str:
    """Return the metrics once the ping that showed the worker to be ready has been counted."""
    if not endpoints.metrics:
        return ""
    task, seen = stack.sut.ping.task, [_scrape(stack, worker, endpoints)]

    def rests() -> bool:
        seen.append(_scrape(stack, worker, endpoints))
        return len(seen) > 2 and counts_of(seen[-1], task) == counts_of(seen[-2], task)

    wait_until(rests, deadline_s=SETTLED_DEADLINE_S, interval_s=0.5)
    return seen[-1]


def _names(stack: Stack, worker: Worker, endpoints: Endpoints, before: str, sent: Sent) -> Names:
    """Return the names of the worker's metrics, once the last run has been counted."""
    if not endpoints.metrics:
        return Names()

    def read() -> Names:
        after = _scrape(stack, worker, endpoints)
        ran = Ran(
            task=stack.sut.ping.task,
            succeeded=len(sent.succeeded) + 1,
            failed=len(sent.failed),
            retried=1,
            busy_s=HELD_S,
            elapsed_s=time.monotonic() - sent.began,
        )
        return names_of(before, after, ran)

    return wait_until(
        read, lambda names: names.are_complete, deadline_s=SETTLED_DEADLINE_S, interval_s=0.5
    )


def _lease_s(stack: Stack) -> float | None:
    """Return the measured lease; None without a table that the role of workers can read."""
    catalogue = read_catalogue(stack.dsn())
    readable = "SELECT has_table_privilege(%s, %s, 'SELECT')"
    role = stack.sut.worker.role
    tables = [
        one.label
        for one in catalogue.tables
        if one.name not in catalogue.broker_tables
        and stack.sql.query(readable, (role, one.label)).scalar()
    ]
    if not tables:
        return None
    try:
        return measured_lease_s(stack, tables[0], _tenant(stack))
    finally:
        stack.stop_processes()
