"""Events in a storm: PostgreSQL restarts and processes of the service are killed meanwhile.

`GATEPROOF_STORM=5000` sends as many events instead of a few; the seed is `GATEPROOF_STORM_SEED`.
"""

from __future__ import annotations

import os
from pathlib import Path

from .storm import storm

EVENTS = int(os.environ.get("GATEPROOF_STORM", "600"))
SEED = int(os.environ.get("GATEPROOF_STORM_SEED", "7"))


def test_storm_loses_and_repeats_no_event(tmp_path: Path) -> None:
    """Every event that was acknowledged is one row and one message; any other one later is, too."""
    figures = storm(EVENTS, SEED, tmp_path)
    assert (figures.lost, figures.twice, figures.refused_later) == (0, 0, 0), figures
    assert (figures.rows, figures.messages) == (EVENTS, EVENTS), figures
    assert set(figures.statuses) <= {"0", "200", "202", "503"}, figures
    assert figures.killed, figures
    assert figures.restarted, figures
    assert figures.acknowledged, figures
