"""Commands that do not exit, and commands that are killed."""

from __future__ import annotations

import sys

import pytest

from gateproof.base.errors import NotReadyError
from gateproof.stack.bring_up import BringUp
from gateproof.stack.stack import Stack
from gateproof_evidence.format.recording.journal import read_journal

PRINTS_AND_WAITS = "import threading; print('still here', flush=True); threading.Event().wait()"
KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def test_command_past_its_deadline_is_not_judged(brought_up: BringUp, own: Stack) -> None:
    """A command that was killed at its deadline raises an error, and its output is kept."""
    command = [sys.executable, "-c", PRINTS_AND_WAITS]
    with pytest.raises(NotReadyError, match="got no exit within 2 s, expected one; its capture"):
        own.process.run(command, env={}, folder=own.sut.folder, deadline_s=2)
    journal = brought_up.recorder.journal.path
    last = [record for record in read_journal([journal]) if record.kind == "observation"][-1]
    assert "still here" in (journal.parent / last.transcript).read_text(encoding="utf-8")


def test_command_that_was_killed_before_its_deadline_has_a_result(own: Stack) -> None:
    """A command that was killed otherwise has the status of the signal."""
    command = [sys.executable, "-c", KILLS_ITSELF]
    done = own.process.run(command, env={}, folder=own.sut.folder, deadline_s=60)
    assert done.exit_status == -9
