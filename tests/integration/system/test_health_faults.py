"""`/health` of a real worker while PostgreSQL hangs, refuses or is slow, and afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from gateproof.guest import program

from .support import Database, StartWorker, Worker, wait_for

DEADLINE_S = 2.0
SLACK_S = 1.0
"""Extra time that a busy machine may need for the request itself."""

SetMode = Callable[[str], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Relay:
    """A relay in front of the server, whose traffic can be cut or delayed."""

    set_mode: SetMode
    port: int

    def dsn(self, database: Database) -> str:
        """Return the DSN of a database through the relay."""
        return database.dsn().replace(f":{database.server.port}/", f":{self.port}/")


@pytest.fixture
def relay(database: Database) -> Iterator[Relay]:
    """Run the relay of the network faults in front of the server."""
    process = subprocess.Popen(
        [sys.executable, "-c", program("relay"), "127.0.0.1", str(database.server.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def set_mode(mode: str) -> dict[str, Any]:
        stdin.write(f"{mode}\n")
        stdin.flush()
        state: dict[str, Any] = json.loads(stdout.readline())
        return state

    try:
        yield Relay(set_mode=set_mode, port=int(set_mode("pass")["port"]))
    finally:
        process.kill()
        process.wait(10)
        stdin.close()
        stdout.close()


@pytest.fixture
def worker(database: Database, start_worker: StartWorker, relay: Relay) -> Worker:
    """Run a worker that reaches its database through the relay, and its broker directly."""
    return start_worker(
        database,
        "--pool",
        "solo",
        DATABASE_URL=relay.dsn(database),
        CELERY_BROKER_URL=database.dsn(),
        CELERY_RESULT_BACKEND=database.dsn(),
        SYSTEM_HEALTH_DEADLINE_S=str(DEADLINE_S),
    )


def health(worker: Worker) -> dict[str, str]:
    """Ask once, assert that the answer is in time and its status code fits, and return it."""
    began = time.monotonic()
    answer = worker.ask("/health")
    took_s = time.monotonic() - began
    assert took_s <= DEADLINE_S + SLACK_S
    report: dict[str, str] = answer.json()
    assert answer.status_code == (200 if report["status"] == "ok" else 503)
    return report


def expected(broker: str, database: str) -> dict[str, str]:
    """Return the report that is expected of `/health`."""
    status = "ok" if broker == database == "ok" else "unhealthy"
    # Messages that wait are in the broker's tables.
    return {"status": status, "broker": broker, "database": database, "consumer": broker}


@pytest.mark.parametrize("mode", ["away", "silent", "slow"])
def test_health_reports_a_faulty_database(worker: Worker, relay: Relay, mode: str) -> None:
    """A database that refuses, hangs or is slow is in error alone, and ok again afterwards."""
    assert health(worker) == expected("ok", "ok")
    for _ in range(2):
        relay.set_mode(mode)
        assert [health(worker) for _ in range(2)] == [expected("ok", "error")] * 2
        relay.set_mode("pass")
        assert wait_for(lambda: health(worker) == expected("ok", "ok"), deadline_s=3 * DEADLINE_S)


def test_health_abandons_a_backend_that_hangs_forever(worker: Worker, database: Database) -> None:
    """A backend that never answers is abandoned, and the next one is asked."""
    process = psutil.Process(worker.process.pid)
    assert health(worker) == expected("ok", "ok")
    threads = process.num_threads()
    with database.connect("postgres") as holder:
        holder.execute("LOCK TABLE kombu_queue IN ACCESS EXCLUSIVE MODE")
        assert health(worker) == expected("error", "ok")
        stopped = [
            psutil.Process(pid)
            for (pid,) in database.rows(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'system-health'"
                " AND datname = current_database()"
            )
        ]
        for backend in stopped:
            backend.send_signal(signal.SIGSTOP)
    try:
        assert stopped
        assert wait_for(lambda: health(worker) == expected("ok", "ok"), deadline_s=3 * DEADLINE_S)
        assert all(backend.status() == psutil.STATUS_STOPPED for backend in stopped)
        assert wait_for(lambda: process.num_threads() <= threads)
    finally:
        for backend in stopped:
            backend.send_signal(signal.SIGCONT)
