"""Hundreds of tasks while faults stop workers, their child processes and PostgreSQL.

The faults and their times follow from a seed, `GATEPROOF_FAULTS_SEED`. A failure names it. Without
the variable, each run takes a new seed. `GATEPROOF_FAULTS_SCALE` multiplies the number of tasks:
`make storm` runs four times as many. The faults are the same.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import psutil
import psycopg
import pytest
from celery import chain, chord
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DBAPIError

from tests.integration.system.conftest import database, start_worker, template
from tests.integration.system.support import (
    Client,
    Database,
    StartWorker,
    Worker,
    make_client,
    wait_for,
)
from tests.postgres import Server, running_server

__all__ = ["database", "server", "start_worker", "template"]

PING, RECOMPUTE = "app.tasks.housekeeping.ping", "app.tasks.attribution.recompute_window"
TENANT = "7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e"
SCALE = int(os.environ.get("GATEPROOF_FAULTS_SCALE", "1"))
TASKS, FAILING, WINDOWS, EVERY = 350 * SCALE, 100 * SCALE, 48, 7
CHAINS, CHAIN_LENGTH, CHORDS, HEADER = 10 * SCALE, 3, 4 * SCALE, 4
UNLOCK, UNLOCK_EVERY_S = "celery.chord_unlock", 5.0
SEED = int(os.environ.get("GATEPROOF_FAULTS_SEED") or random.SystemRandom().randrange(10**6))
DEADLINE_S = 240.0
PAUSE_S, AWAY_S = (0.3, 1.5), (2.0, 5.0)
WORKER, CHILD, CONNECTIONS, RESTART, OUTAGE = "worker", "child", "connections", "restart", "outage"
OUTAGES = 3
ENDED = """
SELECT task_id FROM celery_taskmeta WHERE status IN ('SUCCESS', 'FAILURE')
UNION SELECT task_id FROM worker_failed_jobs
"""


@dataclass
class FaultInjector:
    """Injects faults at random until it is stopped."""

    database: Database
    start: Callable[[], Worker]
    workers: list[Worker]
    rng: random.Random
    weights: Mapping[str, int]
    """The kinds of faults, and how often each occurs in proportion."""
    injected: Counter[str] = field(default_factory=Counter)
    broken: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Inject faults repeatedly."""
        faults = {
            WORKER: self._kill_worker,
            CHILD: self._kill_child,
            CONNECTIONS: self._cut_connections,
            RESTART: self._restart_server,
            OUTAGE: self._take_server_away,
        }
        names, weights = list(self.weights), list(self.weights.values())
        try:
            while not self._over.wait(self.rng.uniform(*PAUSE_S)):
                name = self.rng.choices(names, weights=weights)[0]
                if faults[name]():
                    self.injected[name] += 1
        except Exception as error:  # noqa: BLE001 (the test reports it in its own thread)
            self.broken.append(error)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inject faults while the block runs."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _kill_worker(self) -> bool:
        index = self.rng.randrange(len(self.workers))
        self.workers[index].process.kill()
        self.workers[index].process.wait(10)
        self.workers[index] = self.start()
        return True

    def _kill_child(self) -> bool:
        worker = self.rng.choice(self.workers)
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(worker.process.pid).children()
            if children:
                self.rng.choice(children).kill()
                return True
        return False

    def _cut_connections(self) -> bool:
        with suppress(psycopg.OperationalError):
            ended = self.database.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND random() < 0.5"
            )
            return bool(ended)
        return False

    def _restart_server(self) -> bool:
        server = self.database.server
        server.stop()
        server.start()
        return True

    def _take_server_away(self) -> bool:
        server = self.database.server
        server.stop()
        self._over.wait(self.rng.uniform(*AWAY_S))
        server.start()
        return True


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Run a server whose commits wait for the disk, so that they survive a crash."""
    with running_server(safe=True) as started:
        yield started


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    """Give a client of the test's database."""
    with make_client(database) as made:
        yield made


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """Tasks of which some run only after others."""

    send: Callable[[], object]
    after: Mapping[str, Sequence[str]]
    """Maps each task to those that must succeed before it runs."""

    @property
    def ids(self) -> list[str]:
        """The ids of its tasks."""
        return list(self.after)


def workflows(client: Client) -> list[Workflow]:
    """Return chains of pings, and chords of pings with a ping as their body."""

    def step(task_id: str) -> Any:
        kwargs = {"tenant_id": TENANT}
        return client.app.signature(PING, kwargs=kwargs, immutable=True, task_id=task_id)

    made = []
    for number in range(CHAINS):
        ids = [f"chain-{number}-{place}" for place in range(CHAIN_LENGTH)]
        steps = chain(*map(step, ids), app=client.app)
        after = {task_id: ids[:place] for place, task_id in enumerate(ids)}
        made.append(Workflow(send=steps.apply_async, after=after))
    for number in range(CHORDS):
        header = [f"header-{number}-{place}" for place in range(HEADER)]
        body = f"body-{number}"
        both = chord(map(step, header), step(body), app=client.app)
        send = partial(both.apply_async, interval=UNLOCK_EVERY_S, task_id=body)
        made.append(Workflow(send=send, after={**dict.fromkeys(header, ()), body: header}))
    return made


def publish(client: Client, name: str, kwargs: dict[str, Any], task_id: str) -> None:
    """Publish until the broker accepts the task."""
    persist(partial(client.app.send_task, name, kwargs=kwargs, task_id=task_id), task_id)


def persist(send: Callable[[], object], what: str) -> None:
    """Send until the broker accepts it, like a caller that must not lose it."""

    def accepted() -> bool:
        try:
            send()
        except (OperationalError, DBAPIError):
            return False
        return True

    assert wait_for(accepted, deadline_s=60, pause_s=0.2), f"{what} was not accepted"


@pytest.fixture
def prepare_faults(database: Database, start_worker: StartWorker) -> Callable[..., FaultInjector]:
    """Return a function that starts two workers and prepares faults for them."""

    def start() -> Worker:
        return start_worker(database, "--pool", "prefork", "--concurrency", "2", ready=False)

    def prepare(**weights: int) -> FaultInjector:
        workers = [start(), start()]
        for worker in workers:
            worker.wait_for_line("worker ready")
        rng = random.Random(SEED)
        return FaultInjector(
            database=database, start=start, workers=workers, rng=rng, weights=weights
        )

    return prepare


def test_every_task_ends_once_despite_faults(
    database: Database, prepare_faults: Callable[..., FaultInjector], client: Client
) -> None:
    """Each of 500 tasks has one result, each failure one dead-letter row, no window two jobs.

    A tenth of them are chains and chords; of these, a task that follows a failed one need not run.
    """
    ids = [f"task-{number}" for number in range(TASKS + FAILING)]
    failing = sum(number % EVERY != 0 for number in range(TASKS, TASKS + FAILING))
    flows = workflows(client)
    every = len(ids) // len(flows)
    injector = prepare_faults(worker=3, child=3, connections=3, restart=1)
    with injector.running():
        for number, task_id in enumerate(ids):
            if number % every == 0 and number // every < len(flows):
                persist(flows[number // every].send, task_id)
            if number % EVERY == 0:
                publish(client, RECOMPUTE, window(number % WINDOWS), task_id)
            else:
                publish(client, PING, {"fail": number >= TASKS, "tenant_id": TENANT}, task_id)
        assert_injected(injector, WORKER, CHILD, CONNECTIONS, RESTART)
    everything = ids + [task_id for flow in flows for task_id in flow.ids]
    assert len(everything) == 500 * SCALE, "premise"
    assert_all_end(database, everything, injector, flows)
    assert_each_once(database, everything, failing=failing, flows=flows)
    assert_one_job_each(database, [number for number in range(len(ids)) if number % EVERY == 0])


def test_every_failure_leaves_a_dead_letter_row_despite_outages(
    database: Database, prepare_faults: Callable[..., FaultInjector], client: Client
) -> None:
    """Each of 100 failing tasks leaves one dead-letter row, although the database often stops."""
    ids = [f"outage-{number}" for number in range(FAILING)]
    injector = prepare_faults(worker=1, child=1, connections=1, outage=3)
    with injector.running():
        for task_id in ids:
            publish(client, PING, {"fail": True, "tenant_id": TENANT}, task_id)
        assert_injected(injector, *[OUTAGE] * OUTAGES)
    assert_all_end(database, ids, injector)
    assert_each_once(database, ids, failing=FAILING)


def assert_injected(injector: FaultInjector, *faults: str) -> None:
    """Assert that at least these faults are injected, and wait for them."""
    wanted = Counter(faults)
    wait_for(lambda: injector.injected >= wanted or injector.broken, deadline_s=DEADLINE_S)
    assert injector.broken == [], f"seed {SEED}"
    assert injector.injected >= wanted, (
        f"injected: {injector.injected}, expected {wanted}, seed {SEED}"
    )


def assert_all_end(
    database: Database, ids: list[str], injector: FaultInjector, flows: Sequence[Workflow] = ()
) -> None:
    """Assert that every task ends with a result or a dead-letter row, or does not get its turn."""
    assert injector.broken == [], f"seed {SEED}"

    def missing() -> list[str]:
        left = set(ids) - {row[0] for row in database.rows(ENDED)}
        return sorted(left - without_turn(database, flows)) if left else []

    assert wait_for(lambda: not missing(), deadline_s=DEADLINE_S, pause_s=0.5), (
        f"not ended: {missing()[:20]} of {len(ids)}, seed {SEED}, {injector.injected}"
    )


def without_turn(database: Database, flows: Sequence[Workflow]) -> set[str]:
    """Return the tasks that need not run: one that they follow has a dead-letter row.

    It can have run nevertheless: a task that sent the next one and was killed then runs again, and
    can fail. The body of a chord need not run if the task that waits for its header has a row.
    """
    rows = database.rows(
        "SELECT task_id, task_name, kwargs::text, args::text FROM worker_failed_jobs"
    )
    failed = {row[0] for row in rows}
    unlocks = " ".join(f"{args} {kwargs}" for _, name, args, kwargs in rows if name == UNLOCK)
    return {
        task_id
        for flow in flows
        for task_id, before in flow.after.items()
        if failed & set(before) or (before and f'"{task_id}"' in unlocks)
    }


def window(number: int) -> dict[str, Any]:
    """Return the arguments of one of a few windows."""
    return {
        "tenant_id": TENANT,
        "window_start": f"2026-01-01T{number % 24:02d}:00:00+00:00",
        "window_end": f"2026-01-02T{number % 24:02d}:00:00+00:00",
        "model_version": f"v{number // 24}",
    }


def assert_one_job_each(database: Database, numbers: Iterable[int]) -> None:
    """Assert that no window has two jobs, and that each of which a task succeeded has one.

    A task that a fault has made fail may be the only one of its window.
    """
    states = dict(database.rows("SELECT task_id, status FROM celery_taskmeta"))
    succeeded = [number for number in numbers if states.get(f"task-{number}") == "SUCCESS"]
    assert len(succeeded) > WINDOWS / 2, "premise: the storm lets most tasks succeed"
    wanted = {
        (datetime.fromisoformat(one["window_start"]), one["model_version"])
        for one in (window(number % WINDOWS) for number in succeeded)
    }
    jobs = Counter(
        database.rows("SELECT window_start, model_version FROM attribution_recompute_jobs")
    )
    assert [one for one, count in jobs.items() if count > 1] == [], f"seed {SEED}"
    assert sorted(wanted - set(jobs)) == [], f"seed {SEED}"


def assert_each_once(
    database: Database, ids: list[str], *, failing: int, flows: Sequence[Workflow] = ()
) -> None:
    """Assert that each task succeeded or left one dead-letter row, and that no message is left.

    A failure whose result could not be stored during an outage has only its dead-letter row.
    """
    left = (
        "SELECT count(*) FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id"
        " WHERE q.owner IS NULL"
    )
    assert wait_for(lambda: database.rows(left) == [(0,)], deadline_s=60), f"seed {SEED}"
    states = dict(database.rows("SELECT task_id, status FROM celery_taskmeta"))
    succeeded = sorted(task_id for task_id, state in states.items() if state == "SUCCESS")
    failed = {task_id for task_id, state in states.items() if state == "FAILURE"}
    dead_letters = sorted(
        task_id
        for task_id, name in database.rows("SELECT task_id, task_name FROM worker_failed_jobs")
        if name != UNLOCK
    )
    ended = Counter([*succeeded, *dead_letters])
    skipped = without_turn(database, flows) - set(ended)
    lost = sorted(set(ids) - set(ended) - skipped)
    twice = [one for one, ends in ended.items() if ends > 1]
    assert (lost, twice) == ([], []), f"seed {SEED}"
    assert len(ended) + len(skipped) == len(ids), f"seed {SEED}"
    assert failed - skipped <= set(dead_letters), f"seed {SEED}"
    assert len(dead_letters) >= failing, f"seed {SEED}"
