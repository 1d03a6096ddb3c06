"""Compare the speed of tasks with that of stock kombu, Redis, Procrastinate and PgQueuer.

``python -m tests.bench.broker``: every round gives each of them its own database on one
PostgreSQL server, whose commits wait for the disk. They take turns. The figures are:

- the rate at which tasks are published while no worker runs;
- the rate at which two worker processes then complete them and store the results, from the first
  completed task to the last;
- the time of round trips, one task after the other;
- the cost of an idle worker, in processor time (workers, PostgreSQL, Redis) and transactions.

PgQueuer stores no results. Redis is left out when there is no ``redis-server``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from psycopg import sql
from redis import ConnectionError as NoAnswerError
from redis import Redis
from rich.console import Console
from rich.table import Table

from tests.bench.measure import BenchError
from tests.postgres import Server, free_port, running_server

ROOT = Path(__file__).parents[2]
DEADLINE_S = 300
STOP_DEADLINE_S = 20
POLL_S = 0.02
SLOWEST_P95_MS = 20

REFERENCE, DURABLE, STOCK = "reference system", "durable transport", "stock kombu"
REDIS, PROCRASTINATE, PGQUEUER = "Celery with Redis", "Procrastinate", "PgQueuer"

_CELERY_DONE = "SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One of the systems that are compared."""

    name: str
    module: str
    """A module of `tests.bench.peers`."""
    done: str | None
    """The query that counts completed tasks; `{count}` is the number sent. None for Redis."""
    processes: int = 1
    """Worker processes; that of Celery has two child processes."""
    migrated: bool = False
    """Whether the migrations of the system create its tables, and it has the role of the worker."""
    env: Mapping[str, str] = field(default_factory=dict)


CONTENDERS = (
    Contender(name=REFERENCE, module="reference_app", done=_CELERY_DONE, migrated=True),
    Contender(
        name=DURABLE,
        module="celery_app",
        done=_CELERY_DONE,
        migrated=True,
        env={"BENCH_BROKER": "durable"},
    ),
    Contender(name=STOCK, module="celery_app", done=_CELERY_DONE, env={"BENCH_BROKER": "stock"}),
    Contender(name=REDIS, module="celery_app", done=None, env={"BENCH_BROKER": "redis"}),
    Contender(
        name=PROCRASTINATE,
        module="procrastinate_app",
        done="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
        processes=2,
    ),
    Contender(
        name=PGQUEUER,
        module="pgqueuer_app",
        done="SELECT {count} - count(*) FROM pgqueuer",
        processes=2,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one round of one contender, or the medians of several rounds."""

    p50_ms: float
    p95_ms: float
    enqueued_per_s: float
    drained_per_s: float
    idle_cpu_percent: float
    """Of one processor."""
    idle_transactions_per_s: float


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The size of one round."""

    tasks: int
    pings: int
    idle_s: float


class Place:
    """The database of one contender, and its processes."""

    def __init__(
        self, contender: Contender, server: Server, redis: RedisServer | None, name: str
    ) -> None:
        self.contender = contender
        self._server, self._redis, self.name = server, redis, name
        role = "app_user" if contender.migrated else "postgres"
        url = server.dsn(name, role)
        self._env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CELERY_")},
            "BENCH_DATABASE": url,
            "DATABASE_URL": url,
            "BENCH_REDIS": redis.url if redis else "",
            **contender.env,
        }

    def run(self, *words: str) -> Any:
        """Run one command of the peer, and return what it printed as JSON."""
        done = subprocess.run(
            [sys.executable, "-m", f"tests.bench.peers.{self.contender.module}", *words],
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"{self.contender.name}: {' '.join(words)}: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None

    @contextmanager
    def workers(self, folder: Path) -> Iterator[list[psutil.Process]]:
        """Run its workers while the block runs."""
        started: list[subprocess.Popen[bytes]] = []
        command = [sys.executable, "-m", f"tests.bench.peers.{self.contender.module}", "worker"]
        try:
            for number in range(self.contender.processes):
                env = {**self._env, "CELERY_METRICS_PORT": str(free_port())}
                with (folder / f"{self.name}-{number}.log").open("wb") as output:
                    started.append(
                        subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
                    )
            yield [psutil.Process(worker.pid) for worker in started]
        finally:
            for worker in started:
                worker.terminate()
            for worker in started:
                try:
                    worker.wait(STOP_DEADLINE_S)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()

    @contextmanager
    def counting(self, sent: int) -> Iterator[Any]:
        """Give a function that returns how many of the sent tasks are completed."""
        if self.contender.done is None:
            assert self._redis is not None
            yield self._redis.results
            return
        query = self.contender.done.format(count=sent)
        with self._server.admin(self.name) as connection:
            yield lambda: int(connection.execute(query).fetchone()[0])  # type: ignore[index]

    def transactions(self) -> int:
        """Return the number of transactions of its database so far."""
        with self._server.admin() as connection:
            row = connection.execute(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s",
                (self.name,),
            ).fetchone()
        assert row is not None
        return int(row[0])

    def processor_s(self, workers: Sequence[psutil.Process]) -> float:
        """Return the processor time of its workers and of the servers so far, in seconds."""
        servers = [psutil.Process(self._server.pid())]
        servers += [psutil.Process(self._redis.process.pid)] if self._redis else []
        return sum(_processor_s(process) for process in (*workers, *servers))


def _processor_s(process: psutil.Process) -> float:
    """Return the time of a process and its descendants, including those that have exited."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            spent = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


class RedisServer:
    """A Redis server that stores nothing on disk."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        words = [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--dir", str(folder)),
        ]
        self.process = subprocess.Popen(
            [binary, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._client = Redis(port=self.port)
        end = time.monotonic() + STOP_DEADLINE_S
        while not self._answers():
            if time.monotonic() > end:
                raise BenchError("redis-server: got no answer, expected one")
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        try:
            return bool(self._client.ping())
        except NoAnswerError:
            return False

    def results(self) -> int:
        """Return how many results it holds, without the keys of queues."""
        return sum(1 for _ in self._client.scan_iter("celery-task-meta-*", count=10_000))

    def clear(self) -> None:
        """Delete all keys."""
        self._client.flushall()

    def close(self) -> None:
        """Stop the server."""
        self._client.close()
        self.process.terminate()
        self.process.wait()


def measure(
    server: Server, redis: RedisServer | None, *, sizes: Sizes, rounds: int, say: Any
) -> dict[str, Figures]:
    """Measure all contenders in turns, and return the medians by name."""
    template = "bench_template"
    server.create(template)
    _migrate(server, template)
    chosen = [one for one in CONTENDERS if one.name != REDIS or redis]
    seen: dict[str, list[Figures]] = {one.name: [] for one in chosen}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, rounds + 1):
            for contender in chosen:
                say(f"round {number} of {rounds}: {contender.name} ...")
                name = f"bench_{contender.name.lower().replace(' ', '_')}_{number}"
                used = redis if contender.done is None else None
                place = Place(contender, server, used, name)
                _make_database(server, name, template if contender.migrated else None)
                if used:
                    used.clear()
                seen[contender.name].append(_one_round(place, Path(folder), sizes))
                server.drop(name)
    return {name: _medians(figures) for name, figures in seen.items()}


def _one_round(place: Place, folder: Path, sizes: Sizes) -> Figures:
    if not place.contender.migrated:
        place.run("install")
    sending_s = place.run("enqueue", str(sizes.tasks))
    with place.workers(folder) as workers:
        drained_per_s = _drain(place, sizes.tasks + 1)
        took_ms = place.run("ping", str(sizes.pings))
        time.sleep(2)  # (until statistics and heartbeats after the pings are written)
        cpu, transactions, began = (
            place.processor_s(workers),
            place.transactions(),
            time.monotonic(),
        )
        time.sleep(sizes.idle_s)
        idle_s = time.monotonic() - began
        cpu, transactions = place.processor_s(workers) - cpu, place.transactions() - transactions
    percentiles = statistics.quantiles(took_ms, n=100, method="inclusive")
    return Figures(
        p50_ms=percentiles[49],
        p95_ms=percentiles[94],
        enqueued_per_s=sizes.tasks / sending_s,
        drained_per_s=drained_per_s,
        idle_cpu_percent=100 * cpu / idle_s,
        idle_transactions_per_s=transactions / idle_s,
    )


def _drain(place: Place, sent: int) -> float:
    """Return how many tasks were completed a second, from the first poll that found one."""
    end = time.monotonic() + DEADLINE_S
    first: tuple[float, int] | None = None
    with place.counting(sent) as count:
        while True:
            ended, now = count(), time.monotonic()
            if first is None and ended:
                first = (now, ended)
            if ended >= sent:
                break
            if now > end:
                raise BenchError(
                    f"{place.contender.name}: {ended} of {sent} tasks were completed in time"
                )
            time.sleep(POLL_S)
    assert first is not None
    if first[1] >= sent:
        raise BenchError(
            f"{place.contender.name}: all were completed before the first poll; use more tasks"
        )
    return (sent - first[1]) / (now - first[0])


def _migrate(server: Server, name: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "heads"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": server.dsn(name, "migrator")},
        check=True,
        capture_output=True,
    )


def _make_database(server: Server, name: str, template: str | None) -> None:
    if template:
        server.create(name, template=template)
        return
    with server.admin() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _medians(figures: Sequence[Figures]) -> Figures:
    names = asdict(figures[0])
    return Figures(
        **{name: statistics.median(getattr(one, name) for one in figures) for name in names}
    )


def aims_missed(rows: Mapping[str, Figures]) -> list[str]:
    """Return a line for each aim that the reference system misses."""
    own, stock, other = rows[REFERENCE], rows[STOCK], rows[PROCRASTINATE]
    aims = (
        ("p95 of a ping, ms", own.p95_ms, "at most", min(SLOWEST_P95_MS, other.p95_ms)),
        ("drained a second", own.drained_per_s, "at least", other.drained_per_s),
        (
            "idle processor, %",
            own.idle_cpu_percent,
            "below",
            stock.idle_cpu_percent,
        ),
        (
            "idle transactions a second",
            own.idle_transactions_per_s,
            "below",
            stock.idle_transactions_per_s,
        ),
    )
    return [
        f"{name}: got {got:.1f}, aim {how} {aim:.1f}"
        for name, got, how, aim in aims
        if (got < aim if how == "at least" else got > aim)
    ]


def show(rows: Mapping[str, Figures]) -> Table:
    """Return the figures as a table."""
    drawn = Table("", "ping p50 ms", "p95 ms", "enqueued/s", "drained/s", "idle cpu %", "idle tx/s")
    for name, one in rows.items():
        drawn.add_row(
            name,
            f"{one.p50_ms:.1f}",
            f"{one.p95_ms:.1f}",
            f"{one.enqueued_per_s:.0f}",
            f"{one.drained_per_s:.0f}",
            f"{one.idle_cpu_percent:.2f}",
            f"{one.idle_transactions_per_s:.2f}",
        )
    return drawn


def main() -> None:
    """Measure and print; exit with 1 when an aim is missed and `--strict` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--tasks", type=int, default=2000, metavar="N", help="published and completed"
    )
    parser.add_argument("--pings", type=int, default=100, metavar="N", help="round trips")
    parser.add_argument("--idle", type=float, default=20, metavar="S", help="seconds of idling")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when an aim is missed")
    options = parser.parse_args()
    sizes = Sizes(tasks=options.tasks, pings=options.pings, idle_s=options.idle)
    stderr = Console(stderr=True)
    with ExitStack() as stack:
        server = stack.enter_context(running_server(safe=True))
        binary = shutil.which("redis-server")
        redis = None
        if binary:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            redis = RedisServer(binary, Path(folder))
            stack.callback(redis.close)
        else:
            stderr.print(f"{REDIS}: not measured: no redis-server on the PATH")
        rows = measure(server, redis, sizes=sizes, rounds=options.rounds, say=stderr.print)
    missed = aims_missed(rows)
    if options.json:
        figures = {name: asdict(one) for name, one in rows.items()}
        print(json.dumps({"rows": figures, "missed": missed}, indent=2))  # noqa: T201 (its output)
    else:
        Console(width=110).print(show(rows))
        print("\n".join(missed) or "every aim holds")  # noqa: T201 (its output)
    sys.exit(1 if options.strict and missed else 0)


if __name__ == "__main__":
    main()
