"""Procrastinate: the result is the status of the job, and each worker is one process."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from procrastinate import App, SyncPsycopgConnector
from procrastinate.psycopg_connector import PsycopgConnector

from tests.bench.peers.commands import DISCARDED, Peer, main, pauses

URL = os.environ["BENCH_DATABASE"]
app = App(connector=PsycopgConnector(conninfo=URL))


@app.task(name="bench.nothing", queue="bench")  # type: ignore[untyped-decorator]
def nothing() -> None:
    """Do nothing."""


@contextmanager
def opened() -> Iterator[App]:
    """Give the app with the connector that callers without an event loop use."""
    with app.replace_connector(SyncPsycopgConnector(conninfo=URL)) as replaced, replaced.open():
        yield replaced


def install() -> None:
    """Create its schema."""
    with opened() as publisher:
        publisher.schema_manager.apply_schema()


def enqueue(count: int) -> None:
    """Publish tasks that do nothing."""
    with opened():
        nothing.defer()
        began = time.perf_counter()
        for _ in range(count):
            nothing.defer()
        print(json.dumps(time.perf_counter() - began))  # noqa: T201 (its output)


def ping(count: int) -> None:
    """Publish one task after the other, and wait for each."""
    took_ms = []
    with opened(), psycopg.connect(URL, autocommit=True) as connection:
        for _ in range(DISCARDED + count):
            began = time.perf_counter()
            job = nothing.defer()
            for pause_s in pauses():
                found = connection.execute(
                    "SELECT status FROM procrastinate_jobs WHERE id = %s", (job,)
                ).fetchone()
                if found is None or found[0] == "succeeded":
                    break
                time.sleep(pause_s)
            took_ms.append(1000 * (time.perf_counter() - began))
    print(json.dumps(took_ms[DISCARDED:]))  # noqa: T201 (its output)


def worker() -> None:
    """Run one worker, one task at a time."""
    app.run_worker(queues=["bench"], concurrency=1)


if __name__ == "__main__":
    main(Peer(install=install, enqueue=enqueue, ping=ping, worker=worker), sys.argv[1:])
