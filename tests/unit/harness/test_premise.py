"""Premises: what does not hold ends a check as inconclusive, and each is recorded."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from gateproof import InconclusiveError, PremiseError, premise
from gateproof.probes.recorder import Recorder, Scope
from gateproof.run.stage import categorise
from gateproof_evidence.format.recording.journal import Journal, read_journal
from gateproof_evidence.model import PremiseEvent, Relation
from gateproof_evidence.redaction.redactor import Redactor

SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    ("relation", "got", "good", "bad", "message"),
    [
        ("equals", 2, 2, 3, "got 2, expected 3"),
        ("equals", {"b", "a"}, {"a", "b"}, set(), "got a, b, expected none"),
        ("at_least", 2, 2, 3, "got 2, expected at least 3"),
        ("at_most", 2, 2, 1, "got 2, expected at most 1"),
        ("contains", ["a", "b"], "b", "c", "got a, b, expected one with c"),
    ],
)
def test_premise_has_a_relation(
    relation: Relation, got: Any, good: Any, bad: Any, message: str
) -> None:
    """Each relation has a value that holds, and one that ends the check with both values."""
    premise("rows", got=got, expected=good, relation=relation)
    with pytest.raises(PremiseError, match=f"^premise: rows: events: {message}$") as caught:
        premise("rows", on="events", got=got, expected=bad, relation=relation)
    assert isinstance(caught.value, InconclusiveError)
    assert categorise(caught.value)[0] == "premise"


def test_premise_is_recorded_and_redacted(tmp_path: Path) -> None:
    """Both a premise that holds and one that does not are records without secrets."""
    redactor = Redactor()
    redactor.add_secret("password", SECRET)
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, writer="main", clock=lambda: dt.datetime.now(dt.UTC))
    recorder = Recorder(journal, redactor, tmp_path)
    scope = Scope(part="check", item="t.py::test", criterion="RLS-02", gate="rls")
    with recorder.in_scope(scope):
        premise("rows", on="events", got=(3, 2), expected=(3, 2))
        with pytest.raises(PremiseError):
            premise("answer", got=f"printed {SECRET}", expected="pong")
    premise("outside of an item", got=1, expected=1)
    journal.close()
    assert SECRET not in path.read_text(encoding="utf-8")
    first, second = read_journal([path])
    assert isinstance(first, PremiseEvent)
    assert isinstance(second, PremiseEvent)
    assert (first.name, first.on, first.got, first.holds) == ("rows", "events", "[3, 2]", True)
    assert (first.item, first.criterion, first.part) == ("t.py::test", "RLS-02", "check")
    assert second.holds is False
    assert "[redacted:" in second.got
