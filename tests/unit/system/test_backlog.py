"""The gauge of pending dead-letter rows: count, age, and scrapes that never hang."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from system.observability import refreshed
from system.observability.backlog import Backlog, BacklogGauge

PENDING, AGE = "system_dead_letters_pending", "system_dead_letters_oldest_age_seconds"


def values(gauge: BacklogGauge) -> tuple[float | None, float | None]:
    """Return both samples of one scrape."""
    registry = CollectorRegistry()
    registry.register(gauge)
    return registry.get_sample_value(PENDING), registry.get_sample_value(AGE)


@pytest.fixture
def long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a scrape wait longer for the database, because the machine may be busy."""
    monkeypatch.setattr(refreshed, "PATIENCE_S", 10.0)


@pytest.mark.usefixtures("long_wait")
def test_gauge_reports_count_and_age() -> None:
    """The gauge reports the number of pending rows and the age of the oldest failure."""
    oldest = datetime.now(UTC) - timedelta(hours=1)
    pending, age = values(BacklogGauge(lambda: Backlog(pending=3, oldest=oldest)))
    assert pending == 3
    assert age is not None
    assert 3600 <= age < 3660


@pytest.mark.usefixtures("long_wait")
def test_gauge_without_pending_rows_is_zero() -> None:
    """Without a pending row both samples are 0."""
    assert values(BacklogGauge(lambda: Backlog(pending=0, oldest=None))) == (0, 0)


@pytest.mark.usefixtures("long_wait")
def test_gauge_caches_a_fresh_answer() -> None:
    """Any number of scrapes query the database once while the answer is fresh."""
    asked = []

    def ask() -> Backlog:
        asked.append(1)
        return Backlog(pending=1, oldest=None)

    gauge = BacklogGauge(ask)
    assert [values(gauge) for _ in range(20)] == [(1, 0)] * 20
    assert asked == [1]


def test_gauge_does_not_wait_for_a_database_that_hangs() -> None:
    """While the database hangs, both samples are left out, and only one thread queries it."""
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


@pytest.mark.usefixtures("long_wait")
def test_gauge_drops_a_stale_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the last answer is stale, the gauge reports no samples."""
    answers = [Backlog(pending=5, oldest=None)]
    gauge = BacklogGauge(answers.pop)
    assert values(gauge) == (5, 0)
    monkeypatch.setattr(refreshed, "FRESH_S", 0.0)
    assert values(gauge) == (5, 0)
    monkeypatch.setattr(refreshed, "STALE_S", 0.0)
    assert values(gauge) == (None, None)
