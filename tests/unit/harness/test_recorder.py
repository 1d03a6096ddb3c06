"""The recorder: texts are redacted, stored in the transcript of their item, and have a digest."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.probes.recorder import Recorder, Scope
from gateproof_evidence.errors import NotWritableError
from gateproof_evidence.format.recording.journal import Journal, read_journal
from gateproof_evidence.format.recording.transcript import text_start
from gateproof_evidence.model import Observation, Repeat
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
    """The digest is that of the text, which is in the transcript of the criterion."""
    with recorder.in_scope(SCOPE):
        recorder.observe("http", "GET / -> 200", data={}, text="< 200\n")
    [record] = read_journal([tmp_path / "journal.jsonl"])
    assert isinstance(record, Observation)
    assert record.capture == "transcripts/rls/RLS-02.txt:1"
    content = (tmp_path / record.transcript).read_bytes()
    heading, text = content[: text_start(record)], content[text_start(record) :][: record.size]
    assert heading.startswith(b"=== main:0  ")
    assert text == b"< 200"
    assert record.digest == f"sha256:{hashlib.sha256(text).hexdigest()}"
    assert (record.criterion, record.part) == ("RLS-02", "check")


def test_scope_ends_with_its_block(recorder: Recorder, tmp_path: Path) -> None:
    """Observations outside of any item belong to the bring-up; a proof has its own transcript."""
    with recorder.in_scope(SCOPE):
        pass
    recorder.observe("worker", "start", data={}, text="start\n")
    [record] = read_journal([tmp_path / "journal.jsonl"])
    assert isinstance(record, Observation)
    assert record.transcript == "transcripts/_run/bring-up-main.txt"
    assert record.criterion is None
    proof = Scope(part="proof:drop:faulted", item="i", criterion="RLS-02", gate="rls")
    assert proof.transcript("main") == "transcripts/rls/RLS-02/drop.txt"


def test_values_without_a_json_form_become_their_text(recorder: Recorder) -> None:
    """A row with a date is recorded with readable text."""
    day = dt.date(2026, 1, 2)
    seen = recorder.observe("sql", "rows", data={"rows": ((day, 1, None),)}, text="")
    assert seen.data == {"rows": [["2026-01-02", 1, None]]}


def test_capture_that_cannot_be_written_is_an_error(recorder: Recorder, tmp_path: Path) -> None:
    """Evidence that cannot be written is not ignored."""
    (tmp_path / "transcripts").write_text("a file in the way")
    with pytest.raises(
        NotWritableError, match="transcript: got Not a directory, expected to write it"
    ):
        recorder.observe("sql", "x", data={}, text="x")


def test_poll_that_sees_the_same_is_recorded_without_its_text(
    recorder: Recorder, tmp_path: Path
) -> None:
    """Each observation has a record; one that repeats the last of its probe has no entry."""
    with recorder.in_scope(SCOPE):
        for text, rows in (("0\n", 0), ("0\n", 0), ("0\n", 1), ("1\n", 1), ("1\n", 1), ("0\n", 0)):
            recorder.observe("http", "GET /", data={}, text="< 200\n")
            recorder.observe("sql", "count", data={"rows": rows}, text=text)
    records = read_journal([tmp_path / "journal.jsonl"])
    assert [
        one.repeats if isinstance(one, Repeat) else one.kind for one in records
    ] == [
        "observation", "observation",
        0, 1,
        0, "observation",
        0, "observation",
        0, 7,
        0, "observation",
    ]  # fmt: skip


def test_repeat_belongs_to_the_same_item_and_step(recorder: Recorder, tmp_path: Path) -> None:
    """An observation of another item or another step is recorded again."""
    parts = ("proof:drop:baseline", "proof:drop:faulted", "proof:other:faulted")
    for part in (*parts, parts[0]):
        scope = Scope(part=part, item=part, criterion="RLS-02", gate="rls")
        with recorder.in_scope(scope):
            recorder.observe("sql", "count", data={}, text="0\n")
    records = read_journal([tmp_path / "journal.jsonl"])
    assert [one.kind for one in records] == ["observation"] * 4


def test_repeat_refers_to_no_record_that_was_lost(recorder: Recorder, tmp_path: Path) -> None:
    """An observation whose record could not be written is not repeated."""
    recorder.observe("sql", "count", data={}, text="0\n")
    recorder.journal.close()
    for _ in range(2):
        with pytest.raises(NotWritableError):
            recorder.observe("sql", "count", data={}, text="1\n")
    assert recorder.lost
    assert len(read_journal([tmp_path / "journal.jsonl"])) == 1
