"""The recorder: captures are redacted, stored under their criterion, and have a digest."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.probes.recorder import Recorder, Scope
from gateproof_evidence.errors import NotWritableError
from gateproof_evidence.format.recording.journal import Journal, read_journal
from gateproof_evidence.model import Observation
from gateproof_evidence.redaction.redactor import Redactor

SECRET = "correct-horse-battery"


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """A recorder that knows one secret."""
    redactor = Redactor()
    redactor.add_secret("password-app", SECRET)
    journal = Journal(
        tmp_path / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC)
    )
    yield Recorder(journal, redactor, tmp_path)
    journal.close()


SCOPE = Scope(part="check", item="t.py::test", criterion="RLS-02", gate="rls")


def test_observation_is_redacted_before_it_is_written(recorder: Recorder, tmp_path: Path) -> None:
    """A secret is in neither the capture nor the journal, and the record lists the redaction."""
    with recorder.in_scope(SCOPE):
        seen = recorder.observe(
            "sql", f"printed {SECRET}", data={"row": [SECRET]}, text=f"password {SECRET}\n"
        )
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in written
    assert b"[redacted:" in written
    assert [redaction.count for redaction in seen.redactions] == [1]


def test_observation_has_the_digest_of_its_capture(recorder: Recorder, tmp_path: Path) -> None:
    """The digest in the journal is that of the file, which is in the criterion's folder."""
    with recorder.in_scope(SCOPE):
        recorder.observe("http", "GET / -> 200", data={}, text="< 200\n")
    [record] = read_journal([tmp_path / "journal.jsonl"])
    assert isinstance(record, Observation)
    assert record.capture.startswith("captures/rls/RLS-02/")
    digest = hashlib.sha256((tmp_path / record.capture).read_bytes()).hexdigest()
    assert record.digest == f"sha256:{digest}"
    assert (record.criterion, record.part) == ("RLS-02", "check")


def test_scope_ends_with_its_block(recorder: Recorder, tmp_path: Path) -> None:
    """Observations outside of any item belong to the bring-up; a proof has its own folders."""
    with recorder.in_scope(SCOPE):
        pass
    recorder.observe("worker", "start", data={}, text="start\n")
    [record] = read_journal([tmp_path / "journal.jsonl"])
    assert isinstance(record, Observation)
    assert record.capture.startswith("captures/bring-up/")
    assert record.criterion is None
    proof = Scope(part="proof:drop:faulted", item="i", criterion="RLS-02", gate="rls")
    assert proof.folder() == "rls/RLS-02/proof/drop/faulted"


def test_values_without_a_json_form_become_their_text(recorder: Recorder) -> None:
    """A row with a date is recorded with readable text."""
    day = dt.date(2026, 1, 2)
    seen = recorder.observe("sql", "rows", data={"rows": ((day, 1, None),)}, text="")
    assert seen.data == {"rows": [["2026-01-02", 1, None]]}


def test_capture_that_cannot_be_written_is_an_error(recorder: Recorder, tmp_path: Path) -> None:
    """Evidence that cannot be written is not ignored."""
    (tmp_path / "captures").write_text("a file in the way")
    with pytest.raises(
        NotWritableError, match="capture: got Not a directory, expected to write it"
    ):
        recorder.observe("sql", "x", data={}, text="x")
