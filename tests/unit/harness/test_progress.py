"""The lines of progress that are printed while proofs run."""

from __future__ import annotations

import pytest

from gateproof.run.progress import EVERY_S, Progress

IDS = [f"gates/rls/test_a.py::test_a[proof-{name}]" for name in ("one", "two", "three", "four")]


def test_progress_shows_count_last_proof_and_time_left() -> None:
    """After two of four proofs, the time left is twice the time between the two."""
    lines: list[str] = []
    now = [0.0]
    progress = Progress(print_line=lines.append, clock=lambda: now[0])
    progress.expect([*IDS, "gates/rls/test_a.py::test_a", "self-proof::always-red"])
    progress.end(IDS[0])
    now[0] = EVERY_S + 5
    progress.end("gates/rls/test_a.py::test_a")
    progress.end(IDS[1])
    progress.end(IDS[1])
    assert lines == ["2 of 4 proofs, last test_a[proof-two]; about 40 s left"]


def test_progress_is_silent_between_lines_and_at_the_end() -> None:
    """No line is printed before the interval has passed, and none for the last proof."""
    lines: list[str] = []
    now = [0.0]
    progress = Progress(print_line=lines.append, clock=lambda: now[0])
    progress.expect(IDS)
    for nodeid in IDS[:3]:
        progress.end(nodeid)
    now[0] = 1000.0
    progress.end(IDS[3])
    assert lines == []
    assert progress.done == progress.total == 4


def test_progress_is_called_for_items_under_a_conftest() -> None:
    """It is called even where pytest leaves out plugins, such as another folder's conftest.py."""
    progress = Progress(print_line=print)
    manager = pytest.PytestPluginManager()
    manager.register(progress)
    other = object()
    caller = manager.subset_hook_caller("pytest_runtest_logreport", [other])
    assert progress in [one.plugin for one in caller.get_hookimpls()]
