"""Faults in the large: thousands of tasks while workers, their children and PostgreSQL are struck.

What is struck when follows from a seed, `GATEPROOF_FAULTS_SEED`, which a failure names; without one
it is a new one each time.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg
import pytest
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
TASKS, FAILING, WINDOWS, EVERY = 4000, 1000, 48, 7
SEED = int(os.environ.get("GATEPROOF_FAULTS_SEED") or random.SystemRandom().randrange(10**6))
DEADLINE_S = 240.0
PAUSE_S, AWAY_S = (0.3, 1.5), (2.0, 5.0)
WORKER, CHILD, CONNECTIONS, RESTART, OUTAGE = "worker", "child", "connections", "restart", "outage"
OUTAGES = 3
ENDED = """
SELECT count(*) FROM (
    SELECT task_id FROM celery_taskmeta WHERE status IN ('SUCCESS', 'FAILURE')
    UNION SELECT task_id FROM worker_failed_jobs
) ended
"""


@dataclass
class Storm:
    """Strikes at random until it is told to stop."""

    database: Database
    start: Callable[[], Worker]
    workers: list[Worker]
    rng: random.Random
    weights: Mapping[str, int]
    """What is struck, and how often in proportion."""
    struck: Counter[str] = field(default_factory=Counter)
    broken: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Strike again and again."""
        strikes = {
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
                if strikes[name]():
                    self.struck[name] += 1
        except Exception as error:  # noqa: BLE001 (told by the test, in its own thread)
            self.broken.append(error)

    @contextmanager
    def rage(self) -> Iterator[None]:
        """Strike for the block."""
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
    """Run a server whose commits wait for the disk: one that is struck down must have them."""
    with running_server(safe=True) as started:
        yield started


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    """Give a client of the test's database."""
    with make_client(database) as made:
        yield made


def publish(client: Client, name: str, kwargs: dict[str, Any], task_id: str) -> None:
    """Publish until the broker has taken it, as a caller that must not lose it would."""

    def taken() -> bool:
        try:
            client.app.send_task(name, kwargs=kwargs, task_id=task_id)
        except (OperationalError, DBAPIError):
            return False
        return True

    assert wait_for(taken, deadline_s=60, pause_s=0.2), f"{task_id} was not taken"


@pytest.fixture
def storm(database: Database, start_worker: StartWorker) -> Callable[..., Storm]:
    """Start two workers, and prepare a storm over them."""

    def start() -> Worker:
        return start_worker(database, "--pool", "prefork", "--concurrency", "2", ready=False)

    def prepare(**weights: int) -> Storm:
        workers = [start(), start()]
        for worker in workers:
            worker.wait_for_line("worker ready")
        rng = random.Random(SEED)
        return Storm(database=database, start=start, workers=workers, rng=rng, weights=weights)

    return prepare


def test_every_task_ends_once_whatever_is_struck(
    database: Database, storm: Callable[..., Storm], client: Client
) -> None:
    """Each of 5,000 tasks has one result, each failure one row, and each window one job."""
    ids = [f"storm-{number}" for number in range(TASKS + FAILING)]
    failing = sum(number % EVERY != 0 for number in range(TASKS, TASKS + FAILING))
    raging = storm(worker=3, child=3, connections=3, restart=1)
    with raging.rage():
        for number, task_id in enumerate(ids):
            if number % EVERY == 0:
                publish(client, RECOMPUTE, window(number % WINDOWS), task_id)
            else:
                publish(client, PING, {"fail": number >= TASKS, "tenant_id": TENANT}, task_id)
        assert_struck(raging, WORKER, CHILD, CONNECTIONS, RESTART)
    assert_all_end(database, ids, raging)
    assert_each_once(database, ids, failing=failing)
    assert database.rows("SELECT count(*) FROM attribution_recompute_jobs") == [(WINDOWS,)]


def test_every_failure_leaves_a_row_though_the_database_goes_away(
    database: Database, storm: Callable[..., Storm], client: Client
) -> None:
    """Each of 1,000 tasks that fail leaves one row; the database is away for much of it."""
    ids = [f"outage-{number}" for number in range(FAILING)]
    raging = storm(worker=1, child=1, connections=1, outage=3)
    with raging.rage():
        for task_id in ids:
            publish(client, PING, {"fail": True, "tenant_id": TENANT}, task_id)
        assert_struck(raging, *[OUTAGE] * OUTAGES)
    assert_all_end(database, ids, raging)
    assert_each_once(database, ids, failing=FAILING)


def assert_struck(storm: Storm, *strikes: str) -> None:
    """See that a storm strikes at least this, and goes on until it has."""
    wanted = Counter(strikes)
    wait_for(lambda: storm.struck >= wanted or storm.broken, deadline_s=DEADLINE_S)
    assert storm.broken == [], f"seed {SEED}"
    assert storm.struck >= wanted, f"struck: {storm.struck}, expected {wanted}, seed {SEED}"


def assert_all_end(database: Database, ids: list[str], storm: Storm) -> None:
    """See that every task ends, by a result or a row."""
    assert storm.broken == [], f"seed {SEED}"
    assert wait_for(
        lambda: database.rows(ENDED) == [(len(ids),)], deadline_s=DEADLINE_S, pause_s=0.5
    ), f"ended: {database.rows(ENDED)} of {len(ids)}, seed {SEED}, {storm.struck}"


def window(number: int) -> dict[str, Any]:
    """Return the arguments of one of a few windows."""
    return {
        "tenant_id": TENANT,
        "window_start": f"2026-01-01T{number % 24:02d}:00:00+00:00",
        "window_end": f"2026-01-02T{number % 24:02d}:00:00+00:00",
        "model_version": f"v{number // 24}",
    }


def assert_each_once(database: Database, ids: list[str], *, failing: int) -> None:
    """See that each task succeeded or left one row, never both, and that no message is left.

    A failure whose result could not be stored, its database being away, is told by its row.
    """
    left = (
        "SELECT count(*) FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id"
        " WHERE q.owner IS NULL"
    )
    assert wait_for(lambda: database.rows(left) == [(0,)]), f"seed {SEED}"
    states = dict(database.rows("SELECT task_id, status FROM celery_taskmeta"))
    succeeded = sorted(task_id for task_id, state in states.items() if state == "SUCCESS")
    failed = {task_id for task_id, state in states.items() if state == "FAILURE"}
    dead_letters = sorted(row[0] for row in database.rows("SELECT task_id FROM worker_failed_jobs"))
    ended = Counter([*succeeded, *dead_letters])
    lost, twice = sorted(set(ids) - set(ended)), [one for one, ends in ended.items() if ends > 1]
    assert (lost, twice, len(ended)) == ([], [], len(ids)), f"seed {SEED}"
    assert failed <= set(dead_letters), f"seed {SEED}"
    assert len(dead_letters) >= failing, f"seed {SEED}"
