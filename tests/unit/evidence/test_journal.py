"""The journal: records are on disk at once, and only complete journals are read."""

from __future__ import annotations

import datetime as dt
import errno
import gc
import os
import re
from io import FileIO
from pathlib import Path
from typing import cast

import pytest

from gateproof_evidence.errors import BadInputError, NotWritableError, not_writable
from gateproof_evidence.format.recording.journal import (
    Journal,
    iter_journal,
    read_journal,
    shard_of,
    shard_writer,
    writer_in_shard,
)
from gateproof_evidence.model import RunEvent


def ticking() -> dt.datetime:
    """Return a fixed time."""
    return dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def write(path: Path, count: int, writer: str = "main") -> Journal:
    """Write some records and leave the journal open."""
    journal = Journal(path, writer=writer, clock=ticking)
    for number in range(count):
        journal.append(RunEvent, event="started", data={"number": number})
    return journal


def test_journal_is_readable_while_it_is_still_open(tmp_path: Path) -> None:
    """Each record is flushed, so that a crash loses none that was appended."""
    journal = write(tmp_path / "j.jsonl", 3)
    assert len(read_journal([tmp_path / "j.jsonl"])) == 3
    journal.close()


def test_journal_keeps_no_record_in_memory(tmp_path: Path) -> None:
    """A record can be freed as soon as its caller drops it: the file is the journal."""
    journal = write(tmp_path / "j.jsonl", 1)
    journal.append(RunEvent, event="started", data={"kept": "nowhere"})
    gc.collect()
    records = (one for one in gc.get_objects() if type(one) is RunEvent)
    assert not [one for one in records if one.data.get("kept")]
    journal.close()


def test_journal_is_iterated_without_reading_ahead(tmp_path: Path) -> None:
    """A journal larger than the memory can be merged: a bad line is found when it is reached."""
    path = tmp_path / "j.jsonl"
    write(path, 2).close()
    path.write_text(path.read_text() + "no record\n" * 2)
    records = iter_journal([path])
    assert [next(records).seq for _ in range(2)] == [0, 1]
    with pytest.raises(BadInputError, match=r"j.jsonl:3: journal record"):
        next(records)


def test_journal_cut_off_in_mid_line_loses_that_line_only(tmp_path: Path) -> None:
    """A last line without its newline is what a crash leaves; the rest stays readable."""
    path = tmp_path / "j.jsonl"
    write(path, 3).close()
    path.write_bytes(path.read_bytes()[:-10])
    assert len(read_journal([path])) == 2


def test_journal_with_a_missing_record_is_refused(tmp_path: Path) -> None:
    """A gap in a writer's sequence means missing evidence."""
    path = tmp_path / "j.jsonl"
    write(path, 3).close()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[2])
    with pytest.raises(BadInputError, match=r"j.jsonl:2: journal sequence of main: got 2, exp"):
        read_journal([path])


def test_journal_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    """A record has only the fields of the model."""
    path = tmp_path / "j.jsonl"
    write(path, 1).close()
    path.write_text(path.read_text().replace('"data"', '"extra":1,"data"'))
    with pytest.raises(BadInputError, match="journal record"):
        read_journal([path])


def test_journals_of_two_writers_are_merged_by_time_writer_and_sequence(tmp_path: Path) -> None:
    """Records of several writers have one order, for any order of the files."""
    write(tmp_path / "a.jsonl", 2, "a").close()
    write(tmp_path / "b.jsonl", 2, "b").close()
    paths = [tmp_path / "b.jsonl", tmp_path / "a.jsonl"]
    merged = [(record.writer, record.seq) for record in read_journal(paths)]
    assert merged == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_journal_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """The error names the file and what to do."""
    with pytest.raises(NotWritableError, match=r"nowhere.*--evidence-out"):
        Journal(tmp_path / "nowhere" / "j.jsonl", writer="main", clock=ticking)


def test_journal_that_was_closed_refuses_records(tmp_path: Path) -> None:
    """A record that would not reach the disk is refused, not dropped."""
    journal = write(tmp_path / "j.jsonl", 1)
    journal.close()
    with pytest.raises(
        NotWritableError, match="journal: got I/O operation on closed file, expected"
    ):
        journal.append(RunEvent, event="ended", data={})


class Interrupting:
    """A file that writes a part of each line and then fails."""

    def __init__(self, file: FileIO, error: BaseException) -> None:
        self.file, self.error = file, error

    def write(self, content: memoryview) -> int:
        """Write half of the content, and raise at the second call."""
        if len(content) < 40:
            raise self.error
        return self.file.write(content[: len(content) - 30])

    def fileno(self) -> int:
        """Return the descriptor of the real file."""
        return self.file.fileno()


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, "No space left on device"), NotWritableError), (TimeoutError(), NotWritableError),
     (KeyboardInterrupt(), KeyboardInterrupt), (ValueError("limit"), NotWritableError)],
    ids=["full", "timeout", "interrupted", "closed"],
)  # fmt: skip
def test_journal_record_that_fails_leaves_no_part_behind(
    tmp_path: Path, error: BaseException, raised: type[BaseException]
) -> None:
    """The next record follows the last whole one, with its number, and the loss is kept."""
    journal = write(tmp_path / "j.jsonl", 2)
    file = journal._file
    journal._file = cast("FileIO", Interrupting(file, error))
    with pytest.raises(raised):
        journal.append(RunEvent, event="started", data={"number": 2})
    journal._file = file
    assert bool(journal.lost) == (raised is NotWritableError)
    journal.append(RunEvent, event="started", data={"number": 3})
    journal.close()
    records = read_journal([tmp_path / "j.jsonl"])
    numbers = [one.data["number"] for one in records if isinstance(one, RunEvent)]
    assert numbers == [0, 1, 3]


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "EMFILE", "EFBIG"])
def test_error_of_the_system_is_reported_with_its_remedy(tmp_path: Path, name: str) -> None:
    """The message names the file and the reason; a full disk also what is free and needed."""
    number = getattr(errno, name)
    error = OSError(number, os.strerror(number))
    message = str(not_writable(tmp_path / "a" / "b.txt", error, what="capture", needed=4096))
    assert message.startswith(f"{tmp_path}/a/b.txt: capture: got {os.strerror(number)}, expected ")
    assert ("ulimit" in message) != ("--evidence-out" in message)
    space = f" bytes and [0-9,]+ files are free on the disk of {tmp_path}, and 4,096 bytes are"
    assert bool(re.search(space, message)) == (name in ("ENOSPC", "EDQUOT"))


def test_writer_of_a_shard_has_a_name_that_no_other_shard_has() -> None:
    """The number of the shard, and the name within it, can be read from the name."""
    assert shard_writer(12, "gw0") == "shard12-gw0"
    assert (shard_of("shard12-gw0"), writer_in_shard("shard12-gw0")) == (12, "gw0")
    for name in ("main", "gw0", "run", "shard-1", "shard01-main", "shard0-main", "myshard1-main"):
        assert (shard_of(name), writer_in_shard(name)) == (None, name)
