"""Waiting returns the last value, whether it satisfies the condition or not."""

from __future__ import annotations

from itertools import count

from gateproof.base.wait import wait_until


def test_wait_returns_as_soon_as_it_is_satisfied() -> None:
    """The poll that satisfies the condition is the last one."""
    numbers = count()
    assert wait_until(lambda: next(numbers), lambda n: n == 3, deadline_s=60, interval_s=0) == 3
    assert next(numbers) == 4


def test_wait_returns_the_last_value_when_the_deadline_passes() -> None:
    """Nothing is raised: the caller asserts on the returned value."""
    assert wait_until(lambda: "still not", lambda _: False, deadline_s=0) == "still not"


def test_wait_polls_at_least_once() -> None:
    """With a deadline of 0 it still polls once."""
    polls: list[int] = []
    wait_until(lambda: polls.append(1), deadline_s=0)
    assert polls == [1]
