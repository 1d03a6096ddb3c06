"""Transcripts: the readable text of observations, one file for each item of pytest.

An entry is a heading, the text and an empty line; it is never changed::

    === gw0:12  2026-11-30T18:00:01.123456Z  sql  faulted
    -- role app_user, database gp_copy_17
    SELECT count(*) FROM events;

The heading has the writer and the number of the journal's record, its time, its probe and, in a
proof, the step. So a reader finds the entry of a record, and the record of an entry. A poll that
saw the same again has no entry: its record names the observation that it repeats.

Owns writing entries and removing what no record names. Leaves redaction to the caller, and the
comparison with the journal to `gateproof_evidence.verification.integrity.transcript`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateproof_evidence.errors import not_writable
from gateproof_evidence.format.layout import TRANSCRIPTS, in_data
from gateproof_evidence.model import Digest, Observation

END = b"\n\n"
"""The bytes after the text of an entry."""
LOST = b"-"
"""Stands for each byte that no record names, except the ends of lines."""

_LIKE_HEADING = re.compile(r"^===(?= )", re.MULTILINE)
_NO_LINE_END = re.compile(rb"[^\n]")


@dataclass(frozen=True, kw_only=True)
class Place:
    """The entry of an observation."""

    transcript: str
    """The path of the file, relative to ``data/``."""
    line: int
    """The line of its heading, counted from 1."""
    start: int
    """The offset in bytes of its heading."""
    size: int
    """The bytes of its text."""
    digest: Digest
    """The digest of its text."""


def transcript_name(part: str, *, gate: str | None, criterion: str | None, writer: str) -> str:
    """Return the path, relative to ``data/``, of the transcript for a part of a run.

    Args:
        part: as in `Observation.part`.
        gate: the gate of the criterion; None for a part that belongs to no criterion.
        criterion: the criterion, or None.
        writer: the writer, which a part that belongs to no criterion is named by.

    """
    kind, _, rest = part.partition(":")
    name = rest.partition(":")[0]
    folder = in_data(TRANSCRIPTS)
    if gate is None or criterion is None:
        return f"{folder}_run/{'-'.join(filter(None, (kind, name, writer)))}.txt"
    own = f"{folder}{gate}/{criterion}"
    if not name:
        return f"{own}.txt"
    return f"{own}/{name}.txt" if kind == "proof" else f"{own}/{kind}/{name}.txt"


@dataclass(frozen=True, kw_only=True)
class Head:
    """The fields of an observation that are in the heading of its entry."""

    writer: str
    seq: int
    at: datetime
    probe: str
    part: str


def heading(of: Head | Observation) -> bytes:
    """Return the first line of an entry, with its end."""
    step = of.part.split(":")[2:3]
    at = of.at.astimezone(UTC).replace(tzinfo=None)
    moment = f"{at.isoformat(timespec='microseconds')}Z"
    return f"{'  '.join([f'=== {of.writer}:{of.seq}', moment, of.probe, *step])}\n".encode()


@dataclass
class _File:
    """A transcript that is being written."""

    name: str
    size: int = 0
    lines: int = 0


class Transcripts:
    """Writes the transcripts of one writer.

    Args:
        data: the folder that the names are relative to.
        keep: whether files are written; without them only the places are computed.

    """

    def __init__(self, data: Path, *, keep: bool = True) -> None:
        self._data = data
        self._keep = keep
        self._files: dict[str, _File] = {}

    def add(self, name: str, text: str, head: Head) -> Place:
        """Add an entry.

        Args:
            name: the path of the transcript, relative to the data folder. If another writer has
                made that file, this one writes to another with its own name in it.
            text: any text, already redacted. A line that looks like a heading gets a blank before
                it, and line ends after the text are removed.
            head: the fields of the observation.

        Raises:
            NotWritableError: the entry could not be written; no part of it is left.

        """
        content = _LIKE_HEADING.sub(" ===", text).rstrip("\n").encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        first = heading(head)
        file = self._files.get(name) or self._open(name, head.writer)
        place = Place(
            transcript=file.name,
            line=file.lines + 1,
            start=file.size,
            size=len(content),
            digest=digest,
        )
        self._write(file, b"".join((first, content, END)))
        return place

    def _open(self, name: str, writer: str) -> _File:
        """Make the file of a transcript; another writer may have made one of that name."""
        stem = name.removesuffix(".txt")
        file = _File(name)
        for other in (name, f"{stem}.{writer}.txt") if self._keep else ():
            path = self._data / other
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.open("xb").close()
            except FileExistsError as error:
                if other != name or not path.is_file():
                    raise not_writable(path, error, what="transcript") from error
                continue
            except OSError as error:
                raise not_writable(path, error, what="transcript") from error
            file = _File(other)
            break
        self._files[name] = file
        return file

    def _write(self, file: _File, entry: bytes) -> None:
        path = self._data / file.name
        try:
            if self._keep:
                with path.open("ab", buffering=0) as out:
                    rest = memoryview(entry)
                    while rest:
                        rest = rest[out.write(rest) :]
        except OSError as error:
            self._cut(path, file.size)
            raise not_writable(path, error, what="transcript", needed=len(entry)) from error
        except BaseException:  # a signal, too: the time limit of a check may interrupt the writing
            self._cut(path, file.size)
            raise
        file.size += len(entry)
        file.lines += entry.count(b"\n")

    def _cut(self, path: Path, size: int) -> None:
        with suppress(OSError):
            os.truncate(path, size)


def entries_by_file(records: Iterable[object]) -> Mapping[str, tuple[Observation, ...]]:
    """Return the observations by transcript, in the order of their entries."""
    found: dict[str, list[Observation]] = {}
    for one in records:
        if isinstance(one, Observation):
            found.setdefault(one.transcript, []).append(one)
    return {
        name: tuple(sorted(entries, key=lambda one: one.start)) for name, entries in found.items()
    }


def remove_unrecorded(data: Path, records: Iterable[object]) -> None:
    """Remove all bytes of transcripts that no record names: nothing could verify them.

    A record is lost when its process is killed before it was written, or with a damaged journal.
    Bytes between two entries become dashes, so that the others stay in their lines.

    Args:
        data: the folder that the names are relative to.
        records: the journal.

    """
    entries = entries_by_file(records)
    for path in sorted((data / in_data(TRANSCRIPTS)).rglob("*")):
        if path.is_file():
            own = entries.get(path.relative_to(data).as_posix(), ())
            if own:
                _blank_gaps(path, own)
            else:
                path.unlink()


def _blank_gaps(path: Path, entries: Iterable[Observation]) -> None:
    """Replace what is between the entries of a file, and cut off what follows the last."""
    content = path.read_bytes()
    parts: list[bytes] = []
    position = 0
    for start, end in map(_span, entries):
        parts += [_NO_LINE_END.sub(LOST, content[position:start]), content[start:end]]
        position = end
    made = b"".join(parts)
    if made != content:
        path.write_bytes(made)


def _span(entry: Observation) -> tuple[int, int]:
    end = entry.start + len(heading(entry)) + entry.size + len(END)
    return entry.start, end


def text_start(entry: Observation) -> int:
    """Return the offset of the text of an observation in its transcript."""
    return entry.start + len(heading(entry))
