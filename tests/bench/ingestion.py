"""Compare receiving an event with handlers that only parse it, or insert one row.

``python -m tests.bench.ingestion``: the three serve in turns, each with two processes, on one
PostgreSQL whose commits wait for the disk. Every round sends the same signed events over
connections that stay open. The figures are:

- events a second, as fast as the connections allow;
- the p95 of the answers at half of that rate, from the time at which each was due;
- for the service: its largest process after many events, and what thousands of repeated
  deliveries add to the table.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from tests.bench.measure import BenchError
from tests.postgres import Server, free_port, running_server
from tests.vendors import SECRET, signed

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60
PROCESSES = 2
CONNECTIONS = 16
TOKEN = "q7Jt2vK9xY4mB1nR8sW3uA"
SERVICE, PARSE, INSERT = "reference system", "parses only", "parses, one INSERT"
COMMANDS = {
    SERVICE: ("-m", "system.api"),
    PARSE: ("-m", "tests.bench.peers.ingestion_app", "parse"),
    INSERT: ("-m", "tests.bench.peers.ingestion_app", "insert"),
}
LEAST_SHARE, SLOWEST_P95_MS, MOST_MB = 0.6, 50.0, 150.0
_TABLE = "SELECT count(*), pg_table_size('attribution_events') FROM attribution_events"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one round of one contender, or the medians of several rounds."""

    events_per_s: float
    p50_ms: float
    p95_ms: float
    """At half of that rate."""


@dataclass(frozen=True, kw_only=True)
class Endurance:
    """The figures of the service alone."""

    events: int
    largest_mb: float
    """Resident memory of its largest process after so many events."""
    duplicates: int
    rows_added: int
    bytes_added: int
    """By so many repeated deliveries."""


class Requests:
    """Makes requests that were never sent before."""

    def __init__(self) -> None:
        self._next = 1  # (0 is no id of an event)

    def take(self, count: int) -> list[bytes]:
        """Return further requests."""
        first, self._next = self._next, self._next + count
        return [request(number) for number in range(first, self._next)]


def request(number: int) -> bytes:
    """Return the request of an event; the same number is the same event."""
    sent = signed("shopify", number=number)
    fields = {"host": "bench", "content-length": str(len(sent.body)), **sent.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /webhooks/shopify/{TOKEN} HTTP/1.1\r\n{head}\r\n".encode() + sent.body


@contextmanager
def serving(name: str, server: Server, database: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Serve one contender; yield its port and the process id of its first process."""
    port = free_port()
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("CELERY_")},
        "DATABASE_URL": server.dsn(database, "app_ingest" if name == SERVICE else "postgres"),
        "SYSTEM_API_PORT": str(port),
        "SYSTEM_API_PROCESSES": str(PROCESSES),
        "SYSTEM_WEBHOOK_SECRETS": str(folder),
        "SYSTEM_PAYPAL_CERTIFICATES": str(folder),
    }
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *COMMANDS[name]], cwd=ROOT, env=env, stdout=output, stderr=output
        )
    try:
        _wait(name, port, process, folder)
        yield port, process.pid
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.kill()
        process.wait()


def _wait(name: str, port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.05)
    raise BenchError(f"{name}: not ready: {(folder / 'output.log').read_text()[-2000:]}")


# --- sending -------------------------------------------------------------------------------------


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes
) -> int:
    """Send a request and read its whole answer; return its status."""
    writer.write(content)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in lines if b"content-length:" in line)
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def flat_out(port: int, requests: Sequence[bytes]) -> tuple[float, list[int]]:
    """Send as fast as the connections allow; return the events a second, and the statuses."""
    waiting = iter(requests)
    statuses: list[int] = []

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for content in waiting:
            statuses.append(await _exchange(reader, writer, content))  # noqa: PERF401 (shared)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))
    return len(requests) / (time.perf_counter() - began), statuses


async def at_rate(port: int, requests: Sequence[bytes], per_s: float) -> list[float]:
    """Send at a rate; return how long after it was due each answer came, in milliseconds."""
    waiting = iter(enumerate(requests))
    took_ms: list[float] = []
    began = time.perf_counter()

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, content in waiting:
            due = began + number / per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await _exchange(reader, writer, content)
            took_ms.append(1000 * (time.perf_counter() - due))
        writer.close()

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))
    return took_ms


def _one_round(port: int, requests: Requests, events: int) -> Figures:
    asyncio.run(flat_out(port, requests.take(200)))  # (until caches and connections are there)
    rate, statuses = asyncio.run(flat_out(port, requests.take(events)))
    if set(statuses) != {202}:
        raise BenchError(f"statuses: got {sorted(set(statuses))}, expected 202 alone")
    took_ms = asyncio.run(at_rate(port, requests.take(events // 2), rate / 2))
    percentiles = statistics.quantiles(took_ms, n=100, method="inclusive")
    return Figures(events_per_s=rate, p50_ms=percentiles[49], p95_ms=percentiles[94])


# --- databases and the whole ---------------------------------------------------------------------


def _make_database(server: Server, name: str) -> None:
    server.create(name)
    subprocess.run(
        [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "heads"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": server.dsn(name, "migrator")},
        check=True,
        capture_output=True,
    )
    with server.admin(name) as connection:
        connection.execute(
            "INSERT INTO webhook_endpoints (tenant_id, vendor, token_digest, secret_ref)"
            " VALUES (gen_random_uuid(), 'shopify', %s, 'one')",
            (hashlib.sha256(TOKEN.encode()).hexdigest(),),
        )
        connection.execute("CREATE TABLE bench_events (id uuid PRIMARY KEY, payload jsonb)")


def compare(
    server: Server, folder: Path, *, events: int, rounds: int, say: Any
) -> dict[str, Figures]:
    """Measure all three in turns, and return the medians by name."""
    seen: dict[str, list[Figures]] = {name: [] for name in COMMANDS}
    for number in range(1, rounds + 1):
        for name in COMMANDS:
            say(f"round {number} of {rounds}: {name} ...")
            database = f"bench_{number}_{name.split()[-1].lower()}_{len(name)}"
            _make_database(server, database)
            with serving(name, server, database, folder) as (port, _):
                seen[name].append(_one_round(port, Requests(), events))
            server.drop(database)
    return {name: _medians(figures) for name, figures in seen.items()}


def endure(server: Server, folder: Path, *, events: int, duplicates: int, say: Any) -> Endurance:
    """Send many events and repeat one to the service alone, and return its figures."""
    _make_database(server, "bench_endurance")
    requests = Requests()
    with serving(SERVICE, server, "bench_endurance", folder) as (port, process):
        for first in range(0, events, 10_000):
            say(f"memory: {first} of {events} events ...")
            asyncio.run(flat_out(port, requests.take(min(10_000, events - first))))
        family = psutil.Process(process).children()
        largest = max(one.memory_info().rss for one in family) / 2**20
        say("duplicates ...")
        before = _table(server)
        _, statuses = asyncio.run(flat_out(port, [request(1)] * duplicates))
        after = _table(server)
    if set(statuses) != {200}:
        raise BenchError(f"statuses: got {sorted(set(statuses))}, expected 200 alone")
    return Endurance(
        events=events,
        largest_mb=largest,
        duplicates=duplicates,
        rows_added=after[0] - before[0],
        bytes_added=after[1] - before[1],
    )


def _table(server: Server) -> tuple[int, int]:
    with server.admin("bench_endurance") as connection:
        row = connection.execute(_TABLE).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _medians(figures: Sequence[Figures]) -> Figures:
    names = asdict(figures[0])
    return Figures(
        **{name: statistics.median(getattr(one, name) for one in figures) for name in names}
    )


def aims_missed(rows: dict[str, Figures], endurance: Endurance) -> list[str]:
    """Return a line for each aim that the service misses."""
    own = rows[SERVICE]
    share = own.events_per_s / rows[INSERT].events_per_s
    aims = (
        (f"share of {INSERT}", share, "at least", LEAST_SHARE),
        ("p95 at half of the peak, ms", own.p95_ms, "at most", SLOWEST_P95_MS),
        (f"MB after {endurance.events} events", endurance.largest_mb, "at most", MOST_MB),
        (f"rows of {endurance.duplicates} duplicates", endurance.rows_added, "at most", 0),
        (f"bytes of {endurance.duplicates} duplicates", endurance.bytes_added, "at most", 0),
    )
    return [
        f"{name}: got {got:.2f}, aim {how} {aim:g}"
        for name, got, how, aim in aims
        if (got < aim if how == "at least" else got > aim)
    ]


def show(rows: dict[str, Figures], endurance: Endurance) -> str:
    """Return the figures as lines of text."""
    insert = rows[INSERT].events_per_s
    head = f"{'':22} {'events/s':>9} {'× ' + INSERT:>22} {'p50 ms':>8} {'p95 ms':>8}"
    lines = [
        f"{name:22} {one.events_per_s:9.0f} {one.events_per_s / insert:22.2f} "
        f"{one.p50_ms:8.1f} {one.p95_ms:8.1f}"
        for name, one in rows.items()
    ]
    lines.append(
        f"after {endurance.events} events the largest process has {endurance.largest_mb:.0f} MB; "
        f"{endurance.duplicates} duplicates added {endurance.rows_added} rows and "
        f"{endurance.bytes_added} bytes"
    )
    return "\n".join([head, *lines])


def main() -> None:
    """Measure and print; exit with 1 when an aim is missed and `--strict` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--strict", action="store_true", help="exit with 1 for a missed aim")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=2000, help="events of one round")
    parser.add_argument("--many", type=int, default=100_000, help="events before memory is read")
    parser.add_argument("--duplicates", type=int, default=10_000)
    chosen = parser.parse_args()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 (its output)

    with running_server(safe=True) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "one").write_text(SECRET)
        rows = compare(server, folder, events=chosen.events, rounds=chosen.rounds, say=say)
        endurance = endure(
            server, folder, events=chosen.many, duplicates=chosen.duplicates, say=say
        )
    missed = aims_missed(rows, endurance)
    if chosen.json:
        figures = {name: asdict(one) for name, one in rows.items()}
        found = {"rows": figures, "endurance": asdict(endurance), "missed": missed}
        print(json.dumps(found))  # noqa: T201 (its output)
    else:
        lines = [show(rows, endurance), *(f"missed: {line}" for line in missed)]
        print("\n".join(lines if missed else [*lines, "every aim holds"]))  # noqa: T201 (its output)
    sys.exit(int(chosen.strict and bool(missed)))


if __name__ == "__main__":
    main()
