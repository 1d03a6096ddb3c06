"""A canary is written through every kind of capture and found in none."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import get_args

import pytest

from gateproof.probes.canary import plant, plant_in_report
from gateproof.probes.recorder import CANARY, Probe, Recorder
from gateproof_evidence.format.recording.journal import Journal, read_journal
from gateproof_evidence.model import Observation
from gateproof_evidence.redaction.canary import Canary, CanaryError, search
from gateproof_evidence.redaction.redactor import Redactor


def written(folder: Path, canary: Canary, redactor: Redactor) -> list[Path]:
    """Plant the canary and return every file that was written."""
    journal = Journal(
        folder / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC)
    )
    plant(Recorder(journal, redactor, folder), canary)
    journal.close()
    return [path for path in folder.rglob("*") if path.is_file()]


def test_canary_is_in_no_kind_of_capture(tmp_path: Path) -> None:
    """The observation of each probe is redacted, and no file contains it, raw or decoded."""
    canary = Canary.make()
    redactor = Redactor()
    redactor.add_secret(CANARY, canary.value)
    files = written(tmp_path, canary, redactor)
    search(files, [canary])
    assert [path.parent.name for path in files if "answers" in path.parts] == ["_run"]
    records = read_journal([tmp_path / "journal.jsonl"])
    assert {one.probe for one in records if isinstance(one, Observation)} == set(get_args(Probe))
    for one in records:
        assert isinstance(one, Observation)
        assert any(hit.rule == f"secret:{CANARY}" for hit in one.redactions)


def test_canary_is_found_where_redaction_does_not_know_it(tmp_path: Path) -> None:
    """With a redactor that knows no secrets, every written file is found."""
    canary = Canary.make()
    for path in written(tmp_path, canary, Redactor()):
        with pytest.raises(CanaryError, match="got a canary"):
            search([path], [canary])


def test_canary_in_a_report_of_another_plugin_is_redacted(tmp_path: Path) -> None:
    """Like the files of JUnit and pytest-html, it is written first and then redacted."""
    canaries = [Canary.make(), Canary.make()]
    redactor = Redactor()
    for number, canary in enumerate(canaries):
        redactor.add_secret(f"{CANARY}-{number}", canary.value)
    path = plant_in_report(tmp_path, canaries)
    with pytest.raises(CanaryError):
        search([path], canaries)
    redactor.redact_file(path)
    search([path], canaries)
    assert sum(one.count for one in redactor.ledger) >= len(canaries[0].forms())
