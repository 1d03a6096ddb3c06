"""Health: two checks, one deadline, no leak."""

from __future__ import annotations

import threading
import time

from system.health import Check, Health


def fine() -> None:
    """Answer."""


def broken() -> None:
    """Refuse."""
    raise ConnectionError("refused")


def test_health_is_ok_when_both_answer() -> None:
    """Both parts answering is ok."""
    health = Health((Check("broker", fine), Check("database", fine)), 1.0)
    assert health.ask() == {"status": "ok", "broker": "ok", "database": "ok"}


def test_health_names_the_part_that_is_away() -> None:
    """One part refusing is unhealthy, and the answer says which."""
    health = Health((Check("broker", fine), Check("database", broken)), 1.0)
    assert health.ask() == {"status": "unhealthy", "broker": "ok", "database": "error"}
    health = Health((Check("broker", broken), Check("database", fine)), 1.0)
    assert health.ask() == {"status": "unhealthy", "broker": "error", "database": "ok"}


def test_health_asks_anew_each_time() -> None:
    """No answer is kept: what changed since the last request shows in the next."""
    asked: list[int] = []

    def once() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise ConnectionError("gone")

    health = Health((Check("database", once),), 1.0)
    assert [health.ask()["database"] for _ in range(2)] == ["ok", "error"]


def test_hanging_check_costs_no_more_than_the_deadline() -> None:
    """Two parts that hang are answered for within one deadline, and leave one thread each."""
    release = threading.Event()
    health = Health(
        tuple(Check(name, lambda: _hang(release)) for name in ("broker", "database")), 0.3
    )
    before = threading.active_count()
    try:
        began = time.monotonic()
        answers = [health.ask() for _ in range(4)]
        assert time.monotonic() - began < 4 * 0.3
        assert all(answer["status"] == "unhealthy" for answer in answers)
        assert all(answer["broker"] == answer["database"] == "error" for answer in answers)
        assert threading.active_count() == before + 2
    finally:
        release.set()


def test_check_recovers_after_hanging() -> None:
    """Once a part that hung answers again, so does its check."""
    release = threading.Event()
    health = Health((Check("database", lambda: _hang(release)),), 0.3)
    assert health.ask()["database"] == "error"
    release.set()
    assert health.ask()["database"] == "ok"


def _hang(release: threading.Event) -> None:
    assert release.wait(10)
