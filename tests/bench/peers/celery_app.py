"""Celery with the durable transport, that of stock kombu, or Redis; `BENCH_BROKER` selects it."""

from __future__ import annotations

import json
import os
import sys
import time

from celery import Celery

from system import transport
from tests.bench.peers.commands import DISCARDED, Peer, main

DURABLE, STOCK, REDIS = "durable", "stock", "redis"
RESULT_DEADLINE_S = 30


def make_app(which: str) -> Celery:
    """Return an app with one task that does nothing."""
    if which == REDIS:
        broker = backend = os.environ["BENCH_REDIS"]
    else:
        url = os.environ["BENCH_DATABASE"].replace("postgresql://", "postgresql+psycopg2://")
        broker, backend = f"sqla+{url}", f"db+{url}"
    if which == DURABLE:
        transport.install()
    made = Celery("bench", broker=broker, backend=backend)
    made.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        # The setting of the reference system; the other two use the defaults of Celery.
        **({"task_acks_late": True} if which == DURABLE else {}),
    )
    return made


app = make_app(os.environ["BENCH_BROKER"])


@app.task(name="bench.nothing")
def nothing() -> None:
    """Do nothing."""


def install() -> None:
    """Create the tables that no migration creates."""
    nothing.delay()
    app.control.purge()


def enqueue(count: int) -> None:
    """Publish tasks that do nothing."""
    nothing.delay()  # (the first one opens the connection)
    began = time.perf_counter()
    for _ in range(count):
        nothing.delay()
    print(json.dumps(time.perf_counter() - began))  # noqa: T201 (its output)


def ping(count: int) -> None:
    """Publish one task after the other, and wait for each."""
    took_ms = []
    for _ in range(DISCARDED + count):
        began = time.perf_counter()
        nothing.delay().get(timeout=RESULT_DEADLINE_S)
        took_ms.append(1000 * (time.perf_counter() - began))
    print(json.dumps(took_ms[DISCARDED:]))  # noqa: T201 (its output)


def worker() -> None:
    """Run a worker with a pool of two processes."""
    app.worker_main(["--quiet", "worker", "--pool", "prefork", "--concurrency", "2"])


if __name__ == "__main__":
    main(Peer(install=install, enqueue=enqueue, ping=ping, worker=worker), sys.argv[1:])
