"""The journal: every record in order, flushed as it happens, so that a crash leaves it readable.

Each writer has one file, with one JSON object a line. Readers merge the files by time. Nothing is
kept in memory: the file is the journal. The caller redacts a record before it is appended.
"""

from __future__ import annotations

import heapq
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gateproof_evidence.errors import BadInputError, not_writable
from gateproof_evidence.model import RECORD, Entry, Loss, Record, Repeat, RunEvent

Clock = Callable[[], datetime]
"""Returns the present moment as an aware UTC datetime."""

E = TypeVar("E", bound=Entry)


_OF_SHARD = re.compile(r"^shard([1-9][0-9]{0,5})-")


def shard_writer(number: int, writer: str) -> str:
    """Return the name of a writer in a shard: no other shard of the run has such a name."""
    return f"shard{number}-{writer}"


def shard_of(writer: str) -> int | None:
    """Return the number of the shard that a writer belongs to, or None for a whole run."""
    found = _OF_SHARD.match(writer)
    return int(found[1]) if found else None


def writer_in_shard(writer: str) -> str:
    """Return the name that a writer has within its shard, or its name in a whole run."""
    return _OF_SHARD.sub("", writer, count=1)


class Journal:
    """Appends the records of one writer to one file.

    Args:
        path: the file; its folder must exist. An existing file is appended to.
        writer: a name that no other writer of the run has, such as ``main`` or ``gw0``.
        clock: returns the time of each record.

    """

    def __init__(self, path: Path, *, writer: str, clock: Clock) -> None:
        self.path = path
        self.writer = writer
        self._clock = clock
        self.lost = ""
        """Why the first record that could not be written is missing; empty if none is."""
        self._seq = 0
        self._lock = threading.RLock()
        try:
            # Unbuffered: a buffer would write a record that failed together with a later one.
            self._file = path.open("ab", buffering=0)
            self._size = self._file.tell()
        except OSError as error:
            raise not_writable(path, error, what="journal") from error

    def append(self, kind: type[E], **fields: Any) -> E:
        """Write one record to the disk's cache, and return it with writer, number and time.

        Any thread may call this. A record that was not written as a whole leaves no part behind.

        Raises:
            NotWritableError: the record could not be written; the run must not continue as if it
                had been.

        """

        def make(seq: int, at: datetime) -> E:
            return kind(writer=self.writer, seq=seq, at=at, **fields)

        return self.append_after(make)

    def append_after(self, make: Callable[[int, datetime], E]) -> E:
        """Write one record as `append` does.

        Args:
            make: receives the number and the time of the record, writes what the record refers to,
                and returns the record: so no record refers to nothing.

        """
        with self._lock:
            record = make(self._seq, self._clock())
            line = record.to_line() + b"\n"
            try:
                self._write(line)
            except (OSError, ValueError) as error:
                problem = not_writable(self.path, error, what="journal", needed=len(line))
                self.lost = self.lost or str(problem)
                raise problem from error
            return record

    def _write(self, line: bytes) -> None:
        before = self._seq, self._size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._seq, self._size = before[0] + 1, before[1] + len(line)
        except BaseException:  # a signal, too: the time limit of a check may interrupt the writing
            self._seq, self._size = before
            with suppress(OSError, ValueError):
                os.truncate(self._file.fileno(), self._size)
            raise

    def close(self) -> None:
        """Close the file; every appended record has been written already.

        Raises:
            NotWritableError: the system reports only now that it could not write.

        """
        try:
            self._file.close()
        except OSError as error:
            raise not_writable(self.path, error, what="journal") from error


def read_journal(paths: Iterable[Path]) -> tuple[Record, ...]:
    """Read and merge journal files, as `iter_journal` does, into memory."""
    return tuple(iter_journal(paths))


def iter_journal(paths: Iterable[Path]) -> Iterator[Record]:
    """Read and merge journal files, and hold no more than one record of each in memory.

    Yields:
        All records by time; those of one file stay in its order, even if the clock was set back.

    Raises:
        BadInputError: a line is not a record, or a writer's sequence has a gap. A last line without
            a newline is left out: a crash in the middle of a write leaves such a line.

    """
    return merge(read_lines(_lines_of(path), name=str(path)) for path in paths)


def merge(journals: Iterable[Iterator[Record]]) -> Iterator[Record]:
    """Merge the records of several writers by time; those of one writer stay in their order."""
    return heapq.merge(*journals, key=lambda record: (record.at, record.writer))


def read_lines(lines: Iterable[bytes], *, name: str) -> Iterator[Record]:
    """Read the lines of one journal, as `iter_journal` does.

    Args:
        lines: with their ends.
        name: the file, for messages.

    """
    expected: dict[str, int] = {}
    for number, line in enumerate(_whole(lines), start=1):
        try:
            record = RECORD.validate_json(line)
        except ValidationError as error:
            reason = str(error).splitlines()[0]
            raise BadInputError(f"{name}:{number}: journal record: got {reason}") from error
        wanted = expected.get(record.writer, 0)
        if record.seq != wanted:
            raise BadInputError(
                f"{name}:{number}: journal sequence of {record.writer}: got {record.seq}, "
                f"expected {wanted}; a record is missing or was put in"
            )
        expected[record.writer] = wanted + 1
        yield record


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _whole(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines that have an end, without it."""
    return (line[:-1] for line in lines if line.endswith(b"\n"))


MOST_LOST = 10_000
"""The most records in one gap that are taken for lost; a higher number is itself damaged."""


class Salvage:
    """Reads the journal of one writer as far as it is whole, and puts a record for each lost one.

    Args:
        path: the file, whose name is that of the writer.
        at: the time of a loss before which there is no record.

    """

    def __init__(self, path: Path, *, at: datetime) -> None:
        self.spoiled: list[str] = []
        """Lines that are no records, in places where no record is missing."""
        self._path = path
        self._last: Record | None = None
        self._at = at
        self._wanted = 0
        self._damage: tuple[int, str] | None = None
        self._unreadable = ""

    def read(self) -> Iterator[Record]:
        """Yield the records of the file, in order and without a gap."""
        number = 0
        for number, line in enumerate(self._lines(), start=1):
            found = self._unreadable or _parse(line, self._path.stem)
            if isinstance(found, str) or not 0 <= found.seq - self._wanted <= MOST_LOST:
                self._note(number, found if isinstance(found, str) else f"record {found.seq}")
                continue
            if found.seq > self._wanted:
                self._note(number, f"record {found.seq}")
            yield from self._lost(found)
            yield found
            self._last, self._wanted = found, found.seq + 1
        if self._damage or not self._wanted:
            self._note(number + 1, "the end of the file")
            yield from self._lost(None)

    def _lines(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                yield from file
        except OSError as error:
            self._unreadable = f"no readable file ({error.strerror})"
            yield b""

    def _note(self, number: int, reason: str) -> None:
        self._damage = self._damage or (number, reason)

    def _lost(self, found: Record | None) -> Iterator[RunEvent]:
        """Yield a record for each that is missing before the next whole one, or before the end."""
        if self._damage is None:
            return
        (line, reason), self._damage = self._damage, None
        until = found.seq if found is not None else self._wanted + 1
        if until == self._wanted:
            self.spoiled.append(f"{self._path.name}:{line}: journal: got {reason}, expected none")
        items = dict.fromkeys(filter(None, map(_item, (self._last, found))))
        loss = Loss(file=self._path.name, line=line, reason=reason, items=tuple(items))
        at = next((one.at for one in (self._last, found) if one is not None), self._at)
        for number in range(self._wanted, until):
            data = loss.model_dump(mode="json")
            yield RunEvent(writer=self._path.stem, seq=number, at=at, event="lost", data=data)


def _item(record: Record | None) -> str | None:
    return None if record is None or isinstance(record, RunEvent | Repeat) else record.item


def _parse(line: bytes, writer: str) -> Record | str:
    """Return the record of a line, or what is there instead."""
    if not line.endswith(b"\n"):
        return "a line that was cut off"
    if b"\0" in line:
        return "a line with NUL bytes"
    try:
        record = RECORD.validate_json(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "a line that is not UTF-8"
    except ValidationError:
        return "a line that is no record"
    return record if record.writer == writer else "a record of another writer"
