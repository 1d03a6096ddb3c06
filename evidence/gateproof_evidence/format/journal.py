"""The journal: every record in order, flushed as it happens, so that a crash leaves it readable.

Each writer has one file, with one JSON object a line. Readers merge the files by time. Nothing is
kept in memory: the file is the journal. The caller redacts a record before it is appended.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gateproof_evidence.errors import BadInputError, not_writable
from gateproof_evidence.model import RECORD, Entry, Record

Clock = Callable[[], datetime]
"""Returns the present moment as an aware UTC datetime."""

E = TypeVar("E", bound=Entry)


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
        with self._lock:
            record = kind(writer=self.writer, seq=self._seq, at=self._clock(), **fields)
            line = f"{record.model_dump_json()}\n".encode()
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
    files = [_read_file(path) for path in paths]
    return heapq.merge(*files, key=lambda record: (record.at, record.writer))


def _read_file(path: Path) -> Iterator[Record]:
    expected: dict[str, int] = {}
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            record = RECORD.validate_json(line)
        except ValidationError as error:
            reason = str(error).splitlines()[0]
            raise BadInputError(f"{path}:{number}: journal record: got {reason}") from error
        wanted = expected.get(record.writer, 0)
        if record.seq != wanted:
            raise BadInputError(
                f"{path}:{number}: journal sequence of {record.writer}: got {record.seq}, "
                f"expected {wanted}; a record is missing or was put in"
            )
        expected[record.writer] = wanted + 1
        yield record


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1]
