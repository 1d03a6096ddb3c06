"""The list of criteria that cannot be played back names criteria, and does not grow."""

from __future__ import annotations

from gateproof_evidence.cli.rejudging.playback import Listed
from tests.acceptance.conftest import ROOT
from tests.criteria import catalogue

LIST = ROOT / "system" / "not-played.txt"
MOST = 21
"""How many there were when playback began; lower it when one leaves the list."""


def test_list_of_those_that_cannot_be_played_back_does_not_grow() -> None:
    """Each is a criterion of the catalogues, and they are fewer than two of five."""
    listed = Listed.read(LIST)
    known = {one.id for one in catalogue().criteria}
    assert set(listed.ids) <= known
    assert len(listed.ids) <= MOST <= 0.4 * len(known)


def test_each_criterion_that_cannot_be_played_back_has_a_reason() -> None:
    """A line has a reason in words after the id."""
    lines = [line for line in LIST.read_text().splitlines() if line and line[0] != "#"]
    assert lines
    assert [line for line in lines if len(line.split()) < 4] == []
