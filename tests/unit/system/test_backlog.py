"""The gauge of dead letters: what was seen, how old, and never a scrape that hangs."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from system.observability import backlog
from system.observability.backlog import Backlog, BacklogGauge

PENDING, AGE = "system_dead_letters_pending", "system_dead_letters_oldest_age_seconds"


def values(gauge: BacklogGauge) -> tuple[float | None, float | None]:
    """Return what a scrape tells of the two."""
    registry = CollectorRegistry()
    registry.register(gauge)
    return registry.get_sample_value(PENDING), registry.get_sample_value(AGE)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for an answer as long as it takes on a busy machine."""
    monkeypatch.setattr(backlog, "PATIENCE_S", 10.0)


@pytest.mark.usefixtures("patient")
def test_gauge_tells_count_and_age() -> None:
    """The gauge tells how many are pending and how long ago the oldest failed."""
    oldest = datetime.now(UTC) - timedelta(hours=1)
    pending, age = values(BacklogGauge(lambda: Backlog(pending=3, oldest=oldest)))
    assert pending == 3
    assert age is not None
    assert 3600 <= age < 3660


@pytest.mark.usefixtures("patient")
def test_gauge_of_none_is_zero() -> None:
    """Without a pending row both are 0."""
    assert values(BacklogGauge(lambda: Backlog(pending=0, oldest=None))) == (0, 0)


@pytest.mark.usefixtures("patient")
def test_gauge_asks_seldom() -> None:
    """However often it is scraped, the database is asked once while the answer is fresh."""
    asked = []

    def ask() -> Backlog:
        asked.append(1)
        return Backlog(pending=1, oldest=None)

    gauge = BacklogGauge(ask)
    assert [values(gauge) for _ in range(20)] == [(1, 0)] * 20
    assert asked == [1]


def test_gauge_waits_for_no_database_that_hangs() -> None:
    """A database that hangs leaves the two out, and is asked by one thread however often."""
    asked, hang = [], threading.Event()

    def ask() -> Backlog:
        asked.append(1)
        hang.wait(60)
        return Backlog(pending=1, oldest=None)

    gauge = BacklogGauge(ask)
    began = time.monotonic()
    assert [values(gauge) for _ in range(3)] == [(None, None)] * 3
    assert time.monotonic() - began < 30
    assert asked == [1]
    hang.set()


@pytest.mark.usefixtures("patient")
def test_gauge_forgets_what_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the last answer is old, nothing is told rather than that."""
    answers = [Backlog(pending=5, oldest=None)]
    gauge = BacklogGauge(answers.pop)
    assert values(gauge) == (5, 0)
    monkeypatch.setattr(backlog, "FRESH_S", 0.0)
    assert values(gauge) == (5, 0)
    monkeypatch.setattr(backlog, "STALE_S", 0.0)
    assert values(gauge) == (None, None)
