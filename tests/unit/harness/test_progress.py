"""What is told while proofs run."""

from __future__ import annotations

import pytest

from gateproof.run.progress import EVERY_S, Progress

IDS = [f"gates/rls/test_a.py::test_a[proof-{name}]" for name in ("one", "two", "three", "four")]


def test_progress_tells_count_last_and_time_left_at_the_pace_so_far() -> None:
    """Two of four after one more stretch: as long again for each of the two that are left."""
    lines: list[str] = []
    now = [0.0]
    progress = Progress(tell=lines.append, clock=lambda: now[0])
    progress.expect([*IDS, "gates/rls/test_a.py::test_a", "self-proof::always-red"])
    progress.end(IDS[0])
    now[0] = EVERY_S + 5
    progress.end("gates/rls/test_a.py::test_a")
    progress.end(IDS[1])
    progress.end(IDS[1])
    assert lines == ["2 of 4 proofs, last test_a[proof-two]; about 40 s left"]


def test_progress_is_silent_between_lines_and_at_the_end() -> None:
    """No line sooner than it is time for one, and none for the last proof."""
    lines: list[str] = []
    now = [0.0]
    progress = Progress(tell=lines.append, clock=lambda: now[0])
    progress.expect(IDS)
    for nodeid in IDS[:3]:
        progress.end(nodeid)
    now[0] = 1000.0
    progress.end(IDS[3])
    assert lines == []
    assert progress.done == progress.total == 4


def test_progress_can_be_registered_where_conftests_are() -> None:
    """With plugins left out, as pytest does for the conftest.py of another folder, it is called."""
    progress = Progress(tell=print)
    manager = pytest.PytestPluginManager()
    manager.register(progress)
    other = object()
    caller = manager.subset_hook_caller("pytest_runtest_logreport", [other])
    assert progress in [one.plugin for one in caller.get_hookimpls()]
