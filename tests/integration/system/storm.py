"""Send signed events while PostgreSQL restarts and processes of the service are killed.

`python -m tests.integration.system.storm --events 5000 --seed 7` prints the figures. Each event is
sent once, a tenth twice, as a vendor would: one at a time from several connections. What was not
acknowledged is delivered again after the storm. No worker runs, so that each message stays and can
be counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.postgres import running_server
from tests.vendors import Delivery, signed

from .api import Api, starting
from .support import Database, wait_for

SENDERS = 16
TENTH = 10
PER_S = 100.0
"""Deliveries a second at most, so that faults meet many of them."""
PROCESSES = 2
CALM_S, BACK_S = (0.4, 1.2), 30.0
"""The pause between two faults, and how long the service may take to answer again."""
RESTART_SHARE = 0.3
OLD_S = 2.5
"""How long a process has been seen before it is killed."""
NO_ANSWER = 0
PAUSE_S, MOST_AGAIN = 0.1, 4
"""How long a sender waits after a delivery that was not acknowledged, and how often the events
that were not are all delivered again after the storm."""
ACKNOWLEDGED = frozenset({200, 202})
VENDORS = ("shopify", "stripe")


@dataclass(kw_only=True)
class Figures:
    """The result of a storm; every number that should be zero is named so."""

    seed: int
    events: int
    deliveries: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    """Deliveries during the storm by their status; 0 for no answer."""
    killed: int = 0
    restarted: int = 0
    acknowledged: int = 0
    """Events that were answered 200 or 202 during the storm."""
    lost: int = 0
    """Acknowledged events without a row, before any was delivered again: should be zero."""
    refused_later: int = 0
    """Events that were not acknowledged when they were delivered again: should be zero."""
    rows: int = 0
    twice: int = 0
    """Events with more than one row: should be zero."""
    messages: int = 0
    """Messages of `recompute_window`, one for each row."""
    defects: list[str] = field(default_factory=list)
    """Errors of the service that answered 500: should be none."""
    dead: int = 0
    """Dead events that are still open; the rows of their events exist all the same."""


def storm(events: int, seed: int, folder: Path) -> Figures:
    """Run one storm on a server of its own, and return its figures."""
    figures = Figures(seed=seed, events=events)
    with running_server(safe=True) as server:
        server.create("storm")
        database = Database(server=server, name="storm")
        done = database.migrate("upgrade", "heads")
        assert done.returncode == 0, done.stderr
        services = starting(folder)
        start = next(services)
        try:
            api = start(database, SYSTEM_API_PROCESSES=str(PROCESSES))
            for vendor in VENDORS:
                api.path(vendor)
            began = time.monotonic()
            with _faults(api, figures):
                sent = asyncio.run(_send_all(api, _plan(events, seed)))
            figures.seconds = round(time.monotonic() - began, 1)
            _judge(api, sent, figures)
        finally:
            next(services, None)
    return figures


def _plan(events: int, seed: int) -> list[int]:
    """Return the numbers of the events in the order of their deliveries, a tenth of them twice."""
    rng = random.Random(seed)
    order = list(range(1, events + 1))  # (0 is no id of an event)
    for number in rng.sample(range(1, events + 1), events // TENTH):
        order.insert(rng.randrange(len(order)), number)
    return order


def delivery(number: int) -> Delivery:
    """Return the delivery of an event; the same number is the same event."""
    return signed(VENDORS[number % len(VENDORS)], number=number)


async def _send_all(api: Api, order: Sequence[int]) -> list[tuple[int, int]]:
    """Send each delivery once, from several senders; return each number with its status."""
    sent: list[tuple[int, int]] = []
    waiting = iter(enumerate(order))
    began = time.monotonic()

    async def one_sender(client: httpx.AsyncClient) -> None:
        for place, number in waiting:
            await asyncio.sleep(max(0.0, began + place / PER_S - time.monotonic()))
            status = await _send(api, client, number)
            sent.append((number, status))
            if status not in ACKNOWLEDGED:
                await asyncio.sleep(PAUSE_S)

    limits = httpx.Limits(max_connections=SENDERS)
    async with httpx.AsyncClient(timeout=15, limits=limits) as client:
        await asyncio.gather(*(one_sender(client) for _ in range(SENDERS)))
    return sent


async def _send(api: Api, client: httpx.AsyncClient, number: int) -> int:
    sent = delivery(number)
    try:
        answer = await client.post(
            api.path(sent.vendor), content=sent.body, headers=dict(sent.headers)
        )
    except httpx.HTTPError:
        return NO_ANSWER
    return answer.status_code


@contextmanager
def _faults(api: Api, figures: Figures) -> Iterator[None]:
    """Make faults at random, one after the other, while the block runs."""
    ended = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        rng = random.Random(figures.seed)
        seen: dict[int, float] = {}
        try:
            for number in range(10**6):
                if ended.wait(rng.uniform(*CALM_S)):
                    return
                # The second fault is a restart, so that the shortest storm has both kinds.
                if number == 1 or (number > 1 and rng.random() < RESTART_SHARE):
                    api.database.server.stop()
                    api.database.server.start()
                    figures.restarted += 1
                else:
                    _kill_one(api, rng, seen)
                    figures.killed += 1
        except BaseException as error:  # noqa: BLE001 (raised again where the storm is judged)
            errors.append(error)

    thread = threading.Thread(target=run, name="faults")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if errors:
        raise errors[0]


def _kill_one(api: Api, rng: random.Random, seen: dict[int, float]) -> None:
    """Kill one of the processes that serve, once it has lived for a moment.

    A service whose processes die at their start ends, as it should.
    """

    def old() -> list[psutil.Process]:
        now = time.monotonic()
        return [one for one in api.processes() if now - seen.setdefault(one.pid, now) > OLD_S]

    found = wait_for(old, deadline_s=BACK_S)
    assert found, f"no process that serves: {api.text()[-2000:]}"
    with suppress(psutil.NoSuchProcess):
        rng.choice(found).send_signal(signal.SIGKILL)


def _judge(api: Api, sent: list[tuple[int, int]], figures: Figures) -> None:
    """Judge what was acknowledged; then deliver the rest again, and judge all events."""
    figures.deliveries = len(sent)
    by_status = Counter(status for _, status in sent)
    figures.statuses = {str(status): count for status, count in sorted(by_status.items())}
    defects = [line for line in api.lines() if line["logger"] == "uvicorn.error"]
    figures.defects = [str(line.get("error")) for line in defects if line["level"] == "error"]
    taken = {number for number, status in sent if status in ACKNOWLEDGED}
    figures.acknowledged = len(taken)
    assert wait_for(lambda: _is_healthy(api), deadline_s=BACK_S), api.text()[-2000:]
    stored = set(_stored(api))
    figures.lost = len([number for number in taken if _key(number) not in stored])
    rest = {number for number, _ in sent} - taken
    for _ in range(MOST_AGAIN):
        again = asyncio.run(_send_all(api, sorted(rest)))
        rest -= {number for number, status in again if status in ACKNOWLEDGED}
    figures.refused_later = len(rest)
    counts = Counter(_stored(api))
    figures.rows = sum(counts.values())
    figures.twice = len([one for one in counts.values() if one > 1])
    figures.messages = api.count(
        "SELECT count(*) FROM kombu_message m WHERE payload LIKE"
        " '%%app.tasks.attribution.recompute_window%%'"
    )
    figures.dead = api.count(
        "SELECT count(*) FROM dead_events WHERE remediation_status IN ('pending', 'in_progress')"
    )


def _is_healthy(api: Api) -> bool:
    with suppress(httpx.TransportError):
        return api.client.get(f"{api.url}/health").status_code == 200
    return False


def _stored(api: Api) -> list[tuple[str, str]]:
    return api.database.rows("SELECT vendor, event_id FROM attribution_events")


def _key(number: int) -> tuple[str, str]:
    vendor = VENDORS[number % len(VENDORS)]
    return vendor, f"evt_{number}" if vendor == "stripe" else f"delivery-{number}"


def main() -> None:
    """Run a storm and print its figures as JSON; exit with 1 if a number should be zero."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = storm(chosen.events, chosen.seed, Path(folder))
    print(json.dumps(asdict(figures), indent=2))  # noqa: T201 (its output)
    sys.exit(int(bool(figures.lost or figures.refused_later or figures.twice)))


if __name__ == "__main__":
    main()
