"""Commands that do not end, and commands that are killed."""

from __future__ import annotations

import sys

import pytest

from gateproof.base.errors import NotReadyError
from gateproof.stack.bring_up import BringUp
from gateproof.stack.stack import Stack
from gateproof_evidence.format.journal import read_journal

SAYS_AND_STAYS = "import threading; print('still here', flush=True); threading.Event().wait()"
KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def test_command_past_its_deadline_is_no_answer(brought_up: BringUp, own: Stack) -> None:
    """A command that was killed at its deadline is not ready; what it printed is kept."""
    command = [sys.executable, "-c", SAYS_AND_STAYS]
    with pytest.raises(NotReadyError, match="got no end within 2 s, expected one; its capture"):
        own.process.run(command, env={}, folder=own.sut.folder, deadline_s=2)
    journal = brought_up.recorder.journal.path
    last = [record for record in read_journal([journal]) if record.kind == "observation"][-1]
    assert last.capture is not None
    assert "still here" in (journal.parent / last.capture).read_text(encoding="utf-8")


def test_command_that_something_else_killed_is_an_answer(own: Stack) -> None:
    """Killed before its deadline it ends like any other, with that status."""
    command = [sys.executable, "-c", KILLS_ITSELF]
    done = own.process.run(command, env={}, folder=own.sut.folder, deadline_s=60)
    assert done.exit_status == -9
