"""Messages that the transport refuses: either the row is stored, or the message stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from system.dead_letters.capture import refused
from system.errors import SpoolError
from system.transport.refusals import UNREADABLE, Refusal

UNREACHABLE = "postgresql://u:x@127.0.0.1:1/d"
REFUSAL = Refusal(reason=UNREADABLE, queue="llm", text="no json", message=None, deliveries=0)


def test_row_of_a_refused_message_is_spooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database down, the row of a refused message is a file."""
    monkeypatch.setenv("DATABASE_URL", UNREACHABLE)
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(tmp_path))
    refused.keep(REFUSAL)
    assert len(list(tmp_path.glob("*/*.json"))) == 1


def test_refused_message_stays_if_its_row_cannot_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without database and disk the transport gets an error, so that the message stays."""
    monkeypatch.setenv("DATABASE_URL", UNREACHABLE)
    taken = tmp_path / "a file"
    taken.touch()
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(taken))
    with pytest.raises(SpoolError, match="got no place for its dead-letter row"):
        refused.keep(REFUSAL)
