"""Secrets in the output of a real database, a real process and its environment."""

from __future__ import annotations

import sys

import pytest

from gateproof.stack.bring_up import BringUp
from gateproof.stack.stack import Stack
from gateproof_evidence.format.recording.journal import read_journal
from tests.planted import KINDS, Kind


@pytest.fixture
def written(brought_up: BringUp) -> str:
    """All transcripts as they were before the test."""
    return _transcripts(brought_up)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_secret_in_a_row_a_column_and_an_environment_is_in_no_capture(
    brought_up: BringUp, own: Stack, written: str, kind: Kind
) -> None:
    """The check sees the secret, and no written file contains it."""
    held = kind.secret if kind.bare else kind.line
    rows = own.sql.query(f'SELECT %s AS note, %s AS "{kind.column}"', (kind.line, held))
    assert rows.rows == ((kind.line, held),), "the check sees it"
    own.sql.attempt("SELECT no_such_function(%s)", (kind.line,))
    name, value = kind.variable
    done = own.process.run(
        [sys.executable, "-c", "import os; print(*map('='.join, os.environ.items()), sep='\\n')"],
        env={name: value},
        folder=own.sut.folder,
    )
    assert kind.secret in done.output, "the check sees it"
    text = _transcripts(brought_up)
    assert text.count("\n=== ") >= written.count("\n=== ") + 3, "premise: something was written"
    assert kind.secret not in text
    journal = brought_up.recorder.journal.path
    assert read_journal([journal])
    assert kind.secret not in journal.read_text()


def _transcripts(brought_up: BringUp) -> str:
    folder = brought_up.recorder.journal.path.parent
    return "\n".join(path.read_text() for path in sorted(folder.rglob("*.txt")))
