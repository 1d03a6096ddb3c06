"""PgQueuer: a completed job is deleted from its queue, and each worker is one process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

import psycopg
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import PsycopgDriver
from pgqueuer.models import Job

from tests.bench.peers.commands import DISCARDED, Peer, main, pauses

URL = os.environ["BENCH_DATABASE"]
NAME, BATCH = "nothing", 10


async def driver() -> PsycopgDriver:
    """Return a driver with a new connection."""
    return PsycopgDriver(await psycopg.AsyncConnection.connect(URL, autocommit=True))


def install() -> None:
    """Create its schema."""

    async def make() -> None:
        await Queries(await driver()).install()

    asyncio.run(make())


def enqueue(count: int) -> None:
    """Publish jobs that do nothing."""

    async def send() -> float:
        queries = Queries(await driver())
        await queries.enqueue(NAME, None)
        began = time.perf_counter()
        for _ in range(count):
            await queries.enqueue(NAME, None)
        return time.perf_counter() - began

    print(json.dumps(asyncio.run(send())))  # noqa: T201 (its output)


def ping(count: int) -> None:
    """Publish one job after the other, and wait for each."""

    async def send() -> list[float]:
        queries, took_ms = Queries(await driver()), []
        polling = await psycopg.AsyncConnection.connect(URL, autocommit=True)
        for _ in range(DISCARDED + count):
            began = time.perf_counter()
            (job,) = await queries.enqueue(NAME, None)
            for pause_s in pauses():
                there = await polling.execute("SELECT FROM pgqueuer WHERE id = %s", (job,))
                if not there.rowcount:
                    break
                await asyncio.sleep(pause_s)
            took_ms.append(1000 * (time.perf_counter() - began))
        return took_ms[DISCARDED:]

    print(json.dumps(asyncio.run(send())))  # noqa: T201 (its output)


def worker() -> None:
    """Run one worker."""

    async def run() -> None:
        queue = PgQueuer(await driver())

        @queue.entrypoint(NAME)  # type: ignore[untyped-decorator]
        async def nothing(job: Job) -> None:
            """Do nothing."""

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, queue.shutdown.set)
        await queue.run(batch_size=BATCH)

    asyncio.run(run())


if __name__ == "__main__":
    main(Peer(install=install, enqueue=enqueue, ping=ping, worker=worker), sys.argv[1:])
