"""The comparison of transcripts with the journal, while they are read.

Each byte of a transcript belongs to the entry of one record, whose place, heading and digest the
record has; where records were lost there are dashes. So a reader can believe that an entry is what
a record says was seen, and that nothing was put between two entries.

Owns this comparison. Leaves writing to `gateproof_evidence.format.recording.transcript`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gateproof_evidence.format.layout import JOURNAL, TRANSCRIPTS, in_bundle, in_data
from gateproof_evidence.format.recording.transcript import (
    END,
    LOST,
    entries_by_file,
    heading,
)
from gateproof_evidence.format.tree import Consumer, Last
from gateproof_evidence.model import Observation, Record, Repeat, RunEvent
from gateproof_evidence.model.finding import Code, Finding

_BLANK = frozenset(LOST + b"\n")


class TranscriptReader:
    """Compares the transcripts of a bundle while they are read.

    Args:
        records: returns the journal's records, once it has been read; None if it cannot be read.

    """

    def __init__(self, records: Callable[[], Sequence[Record] | None]) -> None:
        self._records = records
        self._entries: Mapping[str, tuple[Observation, ...]] | None = None
        self._files: dict[str, _Comparison] = {}

    @property
    def last(self) -> Last:
        """The folder of the transcripts, for `gateproof_evidence.format.tree.read_tree`."""
        return Last(folder=TRANSCRIPTS, feed=self._consumer)

    def findings(self) -> Iterator[Finding]:
        """Yield the differences; none if the journal cannot be read, which is a finding already.

        1. An observation names an entry that its transcript has.
        2. A repeat names an earlier observation of its writer, or one that was lost.
        3. A transcript has nothing but entries and dashes, each entry as its record says.
        """
        records = self._records()
        if records is None:
            return
        # 1
        for name in self._by_file().keys() - self._files.keys():
            message = "the transcript is missing, which the journal names"
            yield _finding(name, message)
        # 2
        yield from _repeats(records)
        # 3
        for name, one in self._files.items():
            yield from (_finding(name, problem) for problem in one.problems())

    def _by_file(self) -> Mapping[str, tuple[Observation, ...]]:
        if self._entries is None:
            self._entries = entries_by_file(self._records() or ())
        return self._entries

    def _consumer(self, path: str) -> Consumer:
        name = in_data(path)
        comparison = _Comparison(self._by_file().get(name, ()))
        self._files[name] = comparison
        return comparison.feed


class _Piece(NamedTuple):
    """The bytes that are expected next in a transcript; a tuple, because there are so many."""

    size: int
    entry: Observation
    exact: bytes | None = None
    """The bytes themselves, if they are known."""
    digest: str | None = None
    """Their digest, if that is known; bytes without either must be dashes."""
    line: int | None = None
    """The line in which they begin, if a record has it."""

    @property
    def source(self) -> str:
        """The record that they belong to, in words."""
        return f"observation {self.entry.writer}:{self.entry.seq}"


class _Comparison:
    """The comparison of one transcript; it stops at the first difference."""

    def __init__(self, entries: Sequence[Observation]) -> None:
        self._pieces = _pieces(entries)
        self._lines = self._position = self._left = 0
        self._piece: _Piece | None = None
        self._problem = "" if entries else "no record names this transcript"
        self._continue()

    def feed(self, chunk: bytes) -> None:
        """Compare the next part of the file."""
        at = self._skip_whole(chunk, 0)
        while at < len(chunk) and not self._problem:
            if self._piece is None:
                self._problem = (
                    f"got bytes after the last entry, at {self._position}, expected none"
                )
                return
            end = min(at + self._left, len(chunk))
            self._take(chunk, at, end, self._piece)
            at = self._skip_whole(chunk, end)

    def _skip_whole(self, chunk: bytes, at: int) -> int:
        """Return where in a part of the file the entries end that are whole there, and as expected.

        Any other entry is left to the comparison by pieces, which says what is wrong.
        """
        while not self._problem and (piece := self._piece) is not None:
            if piece.line is None or self._left < piece.size:
                break  # it is not the heading of an entry, or was read in part
            text = at + piece.size
            end = text + piece.entry.size
            after = end + len(END)
            is_there = chunk.startswith(piece.exact or b"", at) and chunk.startswith(END, end)
            if not is_there or _digest(chunk, text, end) != piece.entry.digest:
                break
            self._position += after - at
            self._lines += chunk.count(b"\n", at, after)
            at = after
            next(self._pieces), next(self._pieces)  # its text and its end
            self._continue()
        return at

    def problems(self) -> Iterator[str]:
        """Yield what is wrong, once the file has ended."""
        if not self._problem and self._piece is not None:
            self._problem = f"{self._piece.source}: the transcript ends before this entry does"
        if self._problem:
            yield self._problem

    def _take(self, chunk: bytes, at: int, end: int, piece: _Piece) -> None:
        if piece.exact is not None:
            self._seen += chunk[at:end]
        elif piece.digest is not None:
            self._hash.update(memoryview(chunk)[at:end])
        elif set(chunk[at:end]) - _BLANK:
            self._problem = f"{piece.source}: got bytes before its entry, expected none"
        self._position += end - at
        self._lines += chunk.count(b"\n", at, end)
        self._left -= end - at
        if not self._left:
            self._end(piece)
            self._continue()

    def _end(self, piece: _Piece) -> None:
        """Compare a piece that was read as a whole."""
        if piece.exact is not None and self._seen != piece.exact:
            expected = piece.exact.decode().strip() or "an empty line"
            self._problem = f"{piece.source}: got other bytes than {expected!r}"
        elif piece.digest is not None:
            digest = f"sha256:{self._hash.hexdigest()}"
            if digest != piece.digest:
                self._problem = f"{piece.source}: got {digest}, expected {piece.digest}"

    def _continue(self) -> None:
        """Expect the next piece that has any bytes."""
        while not self._problem:
            self._piece = next(self._pieces, None)
            if self._piece is None:
                return
            self._seen = b""
            if self._piece.digest is not None:
                self._hash = hashlib.sha256()
            self._left = self._piece.size
            if self._left < 0:
                self._problem = f"{self._piece.source}: its entry begins inside another"
            elif self._piece.line not in (None, self._lines + 1):
                got = f"got line {self._piece.line}, expected {self._lines + 1}"
                self._problem = f"{self._piece.source}: {got}"
            elif self._left:
                return
            else:
                self._end(self._piece)


def _digest(chunk: bytes, start: int, end: int) -> str:
    return f"sha256:{hashlib.sha256(memoryview(chunk)[start:end]).hexdigest()}"


def _pieces(entries: Sequence[Observation]) -> Iterator[_Piece]:
    position = 0
    for one in entries:
        first = heading(one)
        if one.start != position:
            yield _Piece(one.start - position, one)
        yield _Piece(len(first), one, first, None, one.line)
        yield _Piece(one.size, one, None, one.digest)
        yield _Piece(len(END), one, END)
        position = one.start + len(first) + one.size + len(END)


def _repeats(records: Sequence[Record]) -> Iterator[Finding]:
    seen: set[tuple[str, int]] = set()
    for one in records:
        if isinstance(one, Observation) or (isinstance(one, RunEvent) and one.event == "lost"):
            seen.add((one.writer, one.seq))
        elif isinstance(one, Repeat) and (one.writer, one.repeats) not in seen:
            message = f"{one.writer}:{one.seq}: repeats {one.repeats}, which is no observation"
            yield Finding(code=Code.CAPTURE_MISMATCH, path=JOURNAL, message=message)


def _finding(name: str, message: str) -> Finding:
    return Finding(code=Code.CAPTURE_MISMATCH, path=in_bundle(name), message=message)
