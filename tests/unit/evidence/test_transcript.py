"""Transcripts: what is written, what a crash leaves, and that every byte belongs to a record."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateproof_evidence.errors import NotWritableError
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.recording.journal import Journal, Salvage, iter_journal
from gateproof_evidence.format.recording.transcript import (
    Head,
    Transcripts,
    heading,
    remove_unrecorded,
    text_start,
    transcript_name,
)
from gateproof_evidence.format.tree import read_tree
from gateproof_evidence.model import Observation, Record, Repeat, RunEvent
from gateproof_evidence.verification.integrity.transcript import TranscriptReader

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAME = "transcripts/rls/RLS-01.txt"
ZONE = datetime.fromisoformat("2026-03-01T13:00:00+01:00")


def head(seq: int, *, writer: str = "main", part: str = "check") -> Head:
    """Return the head of an entry."""
    at = START + timedelta(seconds=seq)
    return Head(writer=writer, seq=seq, at=at, probe="sql", part=part)


def observed(transcripts: Transcripts, seq: int, text: str, *, writer: str = "main") -> Observation:
    """Write an entry and return the record of its observation."""
    own = head(seq, writer=writer)
    place = transcripts.add(NAME, text, own)
    return Observation(
        criterion="RLS-01", item="i", summary="s", data={}, **vars(own), **vars(place)
    )


def problems(data: Path, records: tuple[Record, ...]) -> list[str]:
    """Return what verification finds in the transcripts of a folder."""
    reader = TranscriptReader(lambda: records)
    read_tree(data.parent, keep=lambda _: 0, last=reader.last)
    return [finding.message for finding in reader.findings()]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Provide the data folder of a bundle."""
    (tmp_path / "bundle/data").mkdir(parents=True)
    return tmp_path / "bundle/data"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\nb", "a\nb"),
        ("a\n", "a"),
        ("a\n\n\n", "a"),
        ("", ""),
        ("\n", ""),
        ("=== main:9  2026\nb", " === main:9  2026\nb"),
        ("a\n=== main:9", "a\n === main:9"),
        ("====\n===\na === b", "====\n===\na === b"),
        ("é\r\n\x00", "é\r\n\x00"),
    ],
)
def test_entry_has_heading_text_and_an_empty_line(data: Path, text: str, written: str) -> None:
    """A text is written as it is, but no line of it can be taken for a heading."""
    transcripts = Transcripts(data)
    records = tuple(observed(transcripts, seq, text) for seq in range(2))
    entry = "=== main:{}  2026-03-01T12:00:0{}.000000Z  sql\n" + written + "\n\n"
    expected = entry.format(0, 0) + entry.format(1, 1)
    assert (data / NAME).read_bytes() == expected.encode()
    assert [one.line for one in records] == [1, 1 + entry.count("\n")]
    for one in records:
        content = (data / NAME).read_bytes()[text_start(one) :][: one.size]
        assert (content, one.digest) == (written.encode(), digest_of(written.encode()))
    assert problems(data, records) == []


def test_heading_has_the_step_of_a_proof_and_the_time_in_utc() -> None:
    """The zone of the time does not matter, and only the steps of a proof are named."""
    own = Head(writer="gw1", seq=7, at=ZONE, probe="http", part="proof:drop:faulted")
    assert heading(own) == b"=== gw1:7  2026-03-01T12:00:00.000000Z  http  faulted\n"
    assert heading(head(0, part="proof:drop")) == heading(head(0))


@pytest.mark.parametrize(
    ("part", "gate", "criterion", "expected"),
    [
        ("bring-up", None, None, "transcripts/_run/bring-up-gw0.txt"),
        (
            "self-proof:always-red:baseline",
            None,
            None,
            "transcripts/_run/self-proof-always-red-gw0.txt",
        ),
        ("check", "rls", "RLS-01", "transcripts/rls/RLS-01.txt"),
        ("proof:drop:baseline", "rls", "RLS-01", "transcripts/rls/RLS-01/drop.txt"),
        (
            "cell:RLS-02-drop:faulted",
            "rls",
            "RLS-01",
            "transcripts/rls/RLS-01/cell/RLS-02-drop.txt",
        ),
    ],
)
def test_transcript_is_named_by_its_item(
    part: str, gate: str | None, criterion: str | None, expected: str
) -> None:
    """All steps of an item share one file."""
    assert transcript_name(part, gate=gate, criterion=criterion, writer="gw0") == expected


def test_second_writer_of_a_name_has_a_file_of_its_own(data: Path) -> None:
    """Two processes that run one item do not write into one file."""
    first, second = Transcripts(data), Transcripts(data)
    records = (
        observed(first, 0, "a", writer="gw0"),
        observed(second, 0, "b", writer="gw1"),
        observed(first, 1, "c", writer="gw0"),
    )
    assert [one.transcript for one in records] == [NAME, "transcripts/rls/RLS-01.gw1.txt", NAME]
    assert problems(data, records) == []


def test_entry_that_cannot_be_written_leaves_no_part(data: Path) -> None:
    """The next entry follows the last whole one."""
    transcripts = Transcripts(data)
    first = observed(transcripts, 0, "a")
    whole = (data / NAME).read_bytes()
    (data / NAME).rename(data / "away")
    (data / NAME).mkdir()
    with pytest.raises(NotWritableError, match="transcript: got Is a directory"):
        observed(transcripts, 1, "b")
    (data / NAME).rmdir()
    (data / "away").rename(data / NAME)
    assert (data / NAME).read_bytes() == whole
    assert problems(data, (first, observed(transcripts, 1, "b"))) == []


def _drop_record(records: tuple[Observation, ...], _: bytes) -> tuple[tuple[Record, ...], bytes]:
    return (records[0], records[2]), b""


def _swap(records: tuple[Observation, ...], content: bytes) -> tuple[tuple[Record, ...], bytes]:
    first, second = content[: records[1].start], content[records[1].start : records[2].start]
    return records, second + first + content[records[2].start :]


def _edit(old: bytes, new: bytes) -> Callable[..., tuple[tuple[Record, ...], bytes]]:
    def edit(records: tuple[Observation, ...], content: bytes) -> tuple[tuple[Record, ...], bytes]:
        assert old in content
        return records, content.replace(old, new, 1)

    return edit


def _record(**update: object) -> Callable[..., tuple[tuple[Record, ...], bytes]]:
    def change(records: tuple[Observation, ...], _: bytes) -> tuple[tuple[Record, ...], bytes]:
        return (records[0], records[1].model_copy(update=update), records[2]), b""

    return change


def _repeat(number: int) -> Callable[..., tuple[tuple[Record, ...], bytes]]:
    def add(records: tuple[Observation, ...], _: bytes) -> tuple[tuple[Record, ...], bytes]:
        return (*records, Repeat(writer="main", seq=3, at=START, repeats=number)), b""

    return add


def _repeat_of_a_lost_one(
    records: tuple[Observation, ...], _: bytes
) -> tuple[tuple[Record, ...], bytes]:
    lost = RunEvent(writer="main", seq=3, at=START, event="lost", data={})
    return (*records, lost, Repeat(writer="main", seq=4, at=START, repeats=3)), b""


def _other_writer(records: tuple[Observation, ...], _: bytes) -> tuple[tuple[Record, ...], bytes]:
    return (*records, Repeat(writer="gw1", seq=0, at=START, repeats=1)), b""


def _twice(records: tuple[Observation, ...], _: bytes) -> tuple[tuple[Record, ...], bytes]:
    return (*records, records[1].model_copy(update={"seq": 3})), b""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_repeat(1), ""),
        (_repeat_of_a_lost_one, ""),
        (_drop_record, "observation main:2: got bytes before its entry, expected none"),
        (_swap, "observation main:0: got other bytes than '=== main:0"),
        (_edit(b"two", b"xxx"), "observation main:1: got sha256:"),
        (_edit(b"two", b"two "), "observation main:1: got other bytes than 'an empty line'"),
        (_edit(b"  sql", b"  SQL"), "observation main:0: got other bytes than '=== main:0"),
        (_edit(b"one\n\n", b"one\n"), "observation main:0: got other bytes than 'an empty line'"),
        (_edit(b"three\n\n", b"three\n"), "main:2: the transcript ends before this entry does"),
        (_edit(b"three\n\n", b"three\n\n\n"), "got bytes after the last entry, at "),
        (_record(line=9), "observation main:1: got line 9, expected 4"),
        (_record(start=0), "its entry begins inside another"),
        (_record(size=2), "observation main:1: got sha256:"),
        (_record(probe="http"), "observation main:1: got other bytes than '=== main:1"),
        (_record(at=START), "observation main:1: got other bytes than '=== main:1"),
        (_record(transcript="run.json"), "the transcript is missing, which the journal names"),
        (_twice, "observation main:3: its entry begins inside another"),
        (_repeat(7), "main:3: repeats 7, which is no observation"),
        (_other_writer, "gw1:0: repeats 1, which is no observation"),
    ],
)
def test_every_byte_belongs_to_the_entry_of_a_record(
    data: Path, change: Callable[..., tuple[tuple[Record, ...], bytes]], problem: str
) -> None:
    """Any difference between a transcript and the journal is a finding."""
    transcripts = Transcripts(data)
    texts = ("one", "two", "three")
    records = tuple(observed(transcripts, seq, text) for seq, text in enumerate(texts))
    changed, content = change(records, (data / NAME).read_bytes())
    if content:
        (data / NAME).write_bytes(content)
    found = problems(data, changed)
    assert (problem in found[0]) if problem else (found == [])


def test_transcripts_are_compared_in_parts_of_any_size(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The findings do not depend on where one part of a file ends."""
    transcripts = Transcripts(data)
    records = tuple(observed(transcripts, seq, "a\n" * seq) for seq in range(5))
    whole = (data / NAME).read_bytes()
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr("gateproof_evidence.format.tree._CHUNK", size)
        (data / NAME).write_bytes(whole)
        assert problems(data, records) == []
        (data / NAME).write_bytes(whole.replace(b"a\na", b"a\nb", 1))
        assert len(problems(data, records)) == 1


def test_bytes_without_a_record_are_removed(data: Path) -> None:
    """Dashes keep the later entries in their lines; what no record names at all is deleted."""
    transcripts = Transcripts(data)
    records = tuple(observed(transcripts, seq, f"secret {seq}\nb") for seq in range(4))
    (data / "transcripts/rls/RLS-02.txt").write_text("=== main:9\nsecret\n\n")
    kept = (records[0], records[2])
    remove_unrecorded(data, kept)
    text = (data / NAME).read_text()
    assert [number in text for number in ("secret 0", "secret 1", "secret 2", "secret 3")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert text.splitlines()[4] == "-" * len("=== main:1  2026-03-01T12:00:01.000000Z  sql")
    assert not (data / "transcripts/rls/RLS-02.txt").exists()
    assert problems(data, kept) == []


WRITES = """
import datetime as dt, sys
from pathlib import Path
from gateproof.probes.recorder import Recorder, Scope
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.redaction.redactor import Redactor
data = Path(sys.argv[1])
journal = Journal(data / "main.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC))
recorder = Recorder(journal, Redactor(), data)
for item in range(10**6):
    scope = Scope(part="check", item=str(item), criterion=f"RLS-{item}", gate="rls")
    with recorder.in_scope(scope):
        for number in range(50):
            recorder.observe("sql", "s", data={"n": number // 3}, text="row\\n" * (number // 3) * 9)
            if number == item == 0:
                print(flush=True)
"""


@pytest.mark.parametrize("moment", range(20))
def test_killed_writer_leaves_readable_evidence(data: Path, moment: int) -> None:
    """Whenever a writer is killed, each record of its journal has its whole entry."""
    command = [sys.executable, "-c", WRITES, str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(random.Random(moment).uniform(0, 0.2))
        os.kill(writer.pid, signal.SIGKILL)
    records = tuple(Salvage(data / "main.jsonl", at=START).read())
    own = [one for one in records if isinstance(one, Observation | Repeat)]
    assert own == list(records)
    assert any(isinstance(one, Observation) for one in records)
    for one in records:
        if isinstance(one, Observation):
            content = (data / one.transcript).read_bytes()[text_start(one) :][: one.size]
            assert digest_of(content) == one.digest
    remove_unrecorded(data, records)
    assert problems(data, records) == []


def test_journal_that_cannot_be_written_leaves_an_entry_that_is_removed(data: Path) -> None:
    """An entry whose record is missing is not evidence."""
    journal = Journal(data / "main.jsonl", writer="main", clock=lambda: START)
    transcripts = Transcripts(data)
    journal.append_after(lambda seq, _: observed(transcripts, seq, "kept"))
    journal.close()
    with pytest.raises(NotWritableError):
        journal.append_after(lambda seq, _: observed(transcripts, seq, "lost"))
    records = tuple(iter_journal([data / "main.jsonl"]))
    assert "lost" in (data / NAME).read_text()
    assert problems(data, records) == [
        f"got bytes after the last entry, at {(data / NAME).stat().st_size // 2}, expected none"
    ]
    remove_unrecorded(data, records)
    assert "lost" not in (data / NAME).read_text()
    assert problems(data, records) == []
