"""A canary is let out through every kind of capture, and comes through none."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import get_args

import pytest

from gateproof.probes.canary import release, release_into
from gateproof.probes.recorder import CANARY, Probe, Recorder
from gateproof_evidence.format.journal import Journal, read_journal
from gateproof_evidence.model import Observation
from gateproof_evidence.redaction.canary import Canary, CanaryError, search
from gateproof_evidence.redaction.redactor import Redactor


def written(folder: Path, canary: Canary, redactor: Redactor) -> list[Path]:
    """Let the canary out and return every file that was written."""
    journal = Journal(
        folder / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC)
    )
    release(Recorder(journal, redactor, folder), canary)
    journal.close()
    return [path for path in folder.rglob("*") if path.is_file()]


def test_canary_comes_through_no_kind_of_capture(tmp_path: Path) -> None:
    """Each probe's observation was redacted, and no file holds it, raw or decoded."""
    canary = Canary.make()
    redactor = Redactor()
    redactor.add_secret(CANARY, canary.value)
    files = written(tmp_path, canary, redactor)
    search(files, [canary])
    seen = read_journal([tmp_path / "journal.jsonl"])
    assert {one.probe for one in seen if isinstance(one, Observation)} == set(get_args(Probe))
    for one in seen:
        assert isinstance(one, Observation)
        assert any(hit.rule == f"secret:{CANARY}" for hit in one.redactions)


def test_canary_is_found_where_redaction_does_not_know_it(tmp_path: Path) -> None:
    """A redactor that lost its secrets writes it everywhere, and each file is found."""
    canary = Canary.make()
    for path in written(tmp_path, canary, Redactor()):
        with pytest.raises(CanaryError, match="got a canary"):
            search([path], [canary])


def test_canary_in_a_report_of_another_plugin_is_taken_out(tmp_path: Path) -> None:
    """The way of JUnit and pytest-html, too: written first, redacted as a file."""
    canaries = [Canary.make(), Canary.make()]
    redactor = Redactor()
    for number, canary in enumerate(canaries):
        redactor.add_secret(f"{CANARY}-{number}", canary.value)
    path = release_into(tmp_path, canaries)
    with pytest.raises(CanaryError):
        search([path], canaries)
    redactor.redact_file(path)
    search([path], canaries)
    assert sum(one.count for one in redactor.ledger) >= len(canaries[0].forms())
