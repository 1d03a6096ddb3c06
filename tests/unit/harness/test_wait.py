"""Waiting returns what was last seen, satisfying or not."""

from __future__ import annotations

from itertools import count

from gateproof.base.wait import wait_until


def test_wait_returns_as_soon_as_it_is_satisfied() -> None:
    """The look that satisfies is the last one."""
    numbers = count()
    assert wait_until(lambda: next(numbers), lambda n: n == 3, deadline_s=60, interval_s=0) == 3
    assert next(numbers) == 4


def test_wait_returns_what_it_saw_last_when_the_deadline_passes() -> None:
    """Nothing is raised: the caller asserts on what comes back."""
    assert wait_until(lambda: "still not", lambda _: False, deadline_s=0) == "still not"


def test_wait_looks_at_least_once() -> None:
    """A deadline of nothing still looks."""
    looks: list[int] = []
    wait_until(lambda: looks.append(1), deadline_s=0)
    assert looks == [1]
