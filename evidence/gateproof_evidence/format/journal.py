"""The journal: every record in order, flushed as it happens, so that a crash leaves it readable.

One file a writer, one JSON object a line. Readers merge the files by time. Leaves
redaction to whoever hands over a record: what arrives here is written as it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gateproof_evidence.errors import BadInputError, NotWritableError
from gateproof_evidence.model import RECORD, Entry, Record

Clock = Callable[[], datetime]
"""Returns the present moment as an aware UTC datetime."""

E = TypeVar("E", bound=Entry)


class Journal:
    """Appends records of one writer to one file.

    Args:
        path: the file; its folder must exist. Appended to when it is there already.
        writer: a name that no other writer of the run has, such as ``main`` or ``gw0``.
        clock: gives each record its time.

    """

    def __init__(self, path: Path, *, writer: str, clock: Clock) -> None:
        self.path = path
        self.records: list[Record] = []
        self.writer = writer
        self._clock = clock
        self._seq = 0
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise _not_writable(path, error) from error

    def append(self, kind: type[E], **fields: Any) -> E:
        """Write one record and flush it; returns it with writer, sequence and time filled in.

        Raises:
            NotWritableError: the disk refused it; the run must not go on as if it had.

        """
        record = kind(writer=self.writer, seq=self._seq, at=self._clock(), **fields)
        try:
            self._file.write(record.model_dump_json() + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            raise _not_writable(self.path, error) from error
        self._seq += 1
        self.records.append(record)  # type: ignore[arg-type]
        return record

    def close(self) -> None:
        """Close the file; what was appended is on disk already."""
        self._file.close()


def read_journal(paths: Iterable[Path]) -> tuple[Record, ...]:
    """Read and merge journal files.

    Returns:
        All records by time; those of one file stay in its order, whatever the clock did.

    Raises:
        BadInputError: a line is no record, or a writer's sequence has a gap. A last line that was
            cut off in mid-write (no newline) is left out: that is what a crash leaves.

    """
    files = [list(_read_file(path)) for path in paths]
    return tuple(heapq.merge(*files, key=lambda record: (record.at, record.writer)))


def _read_file(path: Path) -> Iterator[Record]:
    expected: dict[str, int] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
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


def _not_writable(path: Path, error: Exception) -> NotWritableError:
    return NotWritableError(
        f"{path}: the journal cannot be written ({error}); free the disk or name another "
        "folder with --evidence-out"
    )
