"""How long one check may take with a mutant."""

from __future__ import annotations

import pytest

from gateproof.proof.mutation.judging.item import SHORTEST_S, limit_of


@pytest.mark.parametrize(
    ("left_s", "usual_s", "limit_s"),
    [
        (60.0, 1.0, 30.0),  # one that hangs leaves half
        (60.0, 8.0, 40.0),  # one that takes long anyway gets more
        (60.0, 30.0, 60.0),  # and never more than what is left
        (4.0, 1.0, SHORTEST_S),  # the last one
    ],
)
def test_check_that_hangs_leaves_time_to_others(
    left_s: float, usual_s: float, limit_s: float
) -> None:
    """A check gets half of the time that is left, or five times its own."""
    assert limit_of(left_s, usual_s) == limit_s
