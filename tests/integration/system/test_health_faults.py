"""`/health` of a real worker while PostgreSQL hangs, refuses or is slow, and after."""

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
"""What a busy machine may add on the way there and back."""

Tell = Callable[[str], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to the server that can be closed by itself."""

    tell: Tell
    port: int

    def dsn(self, database: Database) -> str:
        """Return the DSN that leads along it."""
        return database.dsn().replace(f":{database.server.port}/", f":{self.port}/")


@pytest.fixture
def way(database: Database) -> Iterator[Way]:
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

    def tell(mode: str) -> dict[str, Any]:
        stdin.write(f"{mode}\n")
        stdin.flush()
        told: dict[str, Any] = json.loads(stdout.readline())
        return told

    try:
        yield Way(tell=tell, port=int(tell("pass")["port"]))
    finally:
        process.kill()
        process.wait(10)
        stdin.close()
        stdout.close()


@pytest.fixture
def worker(database: Database, start_worker: StartWorker, way: Way) -> Worker:
    """Run a worker that reaches its database by that way, and its broker directly."""
    return start_worker(
        database,
        "--pool",
        "solo",
        DATABASE_URL=way.dsn(database),
        CELERY_BROKER_URL=database.dsn(),
        CELERY_RESULT_BACKEND=database.dsn(),
        SYSTEM_HEALTH_DEADLINE_S=str(DEADLINE_S),
    )


def health(worker: Worker) -> dict[str, str]:
    """Ask once, and see that the answer comes within the deadline and its status fits it."""
    began = time.monotonic()
    answer = worker.ask("/health")
    took_s = time.monotonic() - began
    assert took_s <= DEADLINE_S + SLACK_S
    told: dict[str, str] = answer.json()
    assert answer.status_code == (200 if told["status"] == "ok" else 503)
    return told


def says(broker: str, database: str) -> dict[str, str]:
    """Return what health is to say."""
    status = "ok" if broker == database == "ok" else "unhealthy"
    return {"status": status, "broker": broker, "database": database}


@pytest.mark.parametrize("mode", ["away", "silent", "slow"])
def test_health_names_a_database_in_trouble(worker: Worker, way: Way, mode: str) -> None:
    """Refusing, silent or too slow, the database is in error alone, and ok at once afterwards."""
    assert health(worker) == says("ok", "ok")
    for _ in range(2):
        way.tell(mode)
        assert [health(worker) for _ in range(2)] == [says("ok", "error")] * 2
        way.tell("pass")
        assert wait_for(lambda: health(worker) == says("ok", "ok"), deadline_s=3 * DEADLINE_S)


def test_health_recovers_though_its_backend_never_does(worker: Worker, database: Database) -> None:
    """A backend that is stopped in mid-query, for good, is let go of: the next one is asked."""
    process = psutil.Process(worker.process.pid)
    assert health(worker) == says("ok", "ok")
    threads = process.num_threads()
    with database.connect("postgres") as holder:
        holder.execute("LOCK TABLE kombu_queue IN ACCESS EXCLUSIVE MODE")
        assert health(worker) == says("error", "ok")
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
        assert wait_for(lambda: health(worker) == says("ok", "ok"), deadline_s=3 * DEADLINE_S)
        assert all(backend.status() == psutil.STATUS_STOPPED for backend in stopped)
        assert wait_for(lambda: process.num_threads() <= threads)
    finally:
        for backend in stopped:
            backend.send_signal(signal.SIGCONT)
