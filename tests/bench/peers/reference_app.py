"""The reference system as deployed: its worker, and its ping task with a transaction."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from system.app import app
from tests.bench.peers.commands import DISCARDED, Peer, main

PING = "app.tasks.housekeeping.ping"
RESULT_DEADLINE_S = 30


def install() -> None:
    """Do nothing: the migrations create its tables."""


def enqueue(count: int) -> None:
    """Publish pings."""
    task = _task()
    task.delay()
    began = time.perf_counter()
    for _ in range(count):
        task.delay()
    print(json.dumps(time.perf_counter() - began))  # noqa: T201 (its output)


def ping(count: int) -> None:
    """Publish one ping after the other, and wait for each."""
    task, took_ms = _task(), []
    for _ in range(DISCARDED + count):
        began = time.perf_counter()
        task.delay().get(timeout=RESULT_DEADLINE_S)
        took_ms.append(1000 * (time.perf_counter() - began))
    print(json.dumps(took_ms[DISCARDED:]))  # noqa: T201 (its output)


def worker() -> None:
    """Replace this process by its worker, with a pool of two processes."""
    words = ["-m", "system.worker", "--pool", "prefork", "--concurrency", "2"]
    os.execv(sys.executable, [sys.executable, *words])


def _task() -> Any:
    app.loader.import_default_modules()
    return app.tasks[PING]


if __name__ == "__main__":
    main(Peer(install=install, enqueue=enqueue, ping=ping, worker=worker), sys.argv[1:])
