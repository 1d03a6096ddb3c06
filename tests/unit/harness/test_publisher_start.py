"""A publisher that gives no answer: whether it still runs is in the message."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.base.errors import NotReadyError
from gateproof.environments.process import LocalLauncher
from gateproof.probes import task
from gateproof.probes.recorder import Recorder
from gateproof.probes.task import TaskProbe
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.redaction.redactor import Redactor


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    """Starts processes on this machine, and kills them at the end."""
    found = LocalLauncher(tmp_path, label={})
    yield found
    found.dispose()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import time; time.sleep(60)", "gave no answer within 1 s, and still runs: it printed"),
        ("raise SystemExit(3)", "ended without an answer: it printed nothing"),
        ("raise ValueError('no such host')", "ended without an answer: ValueError: no such host"),
    ],
    ids=["slow", "silent", "refused"],
)
def test_publisher_without_an_answer_is_slow_or_has_ended(
    launcher: LocalLauncher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    message: str,
) -> None:
    """A process that still runs is waited for until the deadline; one that has ended is not."""
    monkeypatch.setattr(task, "START_DEADLINE_S", 1.0 if "sleep" in code else 60.0)
    process = launcher.converse([sys.executable, "-c", code], env={}, folder=tmp_path)
    journal = Journal(tmp_path / "j.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC))
    probe = TaskProbe(Recorder(journal, Redactor(), tmp_path), process, prefix="app.")
    began = dt.datetime.now(dt.UTC)
    with pytest.raises(NotReadyError, match=f"the publisher {message}"):
        probe.publish("app.ping")
    assert dt.datetime.now(dt.UTC) - began < dt.timedelta(seconds=30)
    journal.close()
