"""Messages that the transport refuses: their rows are kept, or the messages stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from system.dead_letters.capture import refused
from system.errors import SpoolError
from system.transport.refusals import UNREADABLE, Refusal

NOWHERE = "postgresql://nobody:x@127.0.0.1:1/nowhere"
REFUSAL = Refusal(reason=UNREADABLE, queue="llm", text="no json", message=None, deliveries=0)


def test_refused_message_waits_on_disk_for_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database away its row is a file."""
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(tmp_path))
    refused.keep(REFUSAL)
    assert len(list(tmp_path.glob("*/*.json"))) == 1


def test_refused_message_whose_row_is_lost_must_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With neither database nor disk the transport is told that the row is lost."""
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    taken = tmp_path / "a file"
    taken.touch()
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(taken))
    with pytest.raises(SpoolError, match="got no place for its dead-letter row"):
        refused.keep(REFUSAL)
