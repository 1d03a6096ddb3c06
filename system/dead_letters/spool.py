"""Letters on local disk while the database is away, and their way into it.

A folder a database, with one file a letter: written aside, synced, renamed, and the folder synced,
so that it is there whole or not at all, also after a power cut. A file is removed when the database
has it; a letter that is there twice is there once, by the key of its row. Bounded: a full spool
refuses, since a disk that is full of letters would stop what makes them.

Any process of any worker on the machine may put; one at a time takes, in the order of the failures
(flock(2)). What is kept is masked or sealed already.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from system.errors import SpoolError

REFUSED = ".refused"
_SUFFIX = ".json"
_LOCK = "lock"

Record = dict[str, Any]


class Spool:
    """The letters of one database that it could not be given."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes

    def put(self, key: str, record: Record) -> None:
        """Keep a record; one of that key that is there already stays.

        Raises:
            SpoolError: the spool is full.
            OSError: the disk does not take it.

        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = json.dumps(record).encode("ascii")
        digest = _digest(key)
        files = self._files()
        if any(path.stem.endswith(digest) for path in files):
            return
        size = len(data) + sum(_size(path) for path in files)
        if size > self._limit_bytes:
            raise SpoolError(
                f"spool {self.folder}: got {len(files)} letters and one of {len(data)} bytes more,"
                f" expected at most {self._limit_bytes} bytes; give it room, or its database back"
            )
        # Named by the moment, so that the order of names is that of the failures.
        name = f"{time.time_ns():020d}-{digest}"
        aside = self.folder / f"{name}.{os.getpid()}.part"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            aside.rename(self.folder / f"{name}{_SUFFIX}")
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        self._sync()

    def find(self, key: str) -> Record | None:
        """Return the record of a key, if it waits."""
        digest = _digest(key)
        for path in self._files():
            if path.stem.endswith(digest):
                with suppress(FileNotFoundError):  # drained meanwhile
                    record: Record = json.loads(path.read_bytes())
                    return record
        return None

    def count(self) -> int:
        """Return how many letters wait."""
        return len(self._files())

    def drain(self, write: Callable[[Record], None]) -> int:
        """Write every letter, the oldest first; stop where one is not taken.

        Args:
            write: stores a record for good, or raises: `SpoolError` for one that never can be,
                which is set aside under another name, anything else to try again later.

        Returns:
            How many were written; none where another process drains already.

        """
        written = 0
        with self._turn() as mine:
            for path in self._files() if mine else ():
                try:
                    write(_read(path))
                except SpoolError:
                    # It will never be taken: kept for people, out of the way of the others.
                    path.rename(path.with_suffix(REFUSED))
                    continue
                path.unlink()
                written += 1
            if written:
                self._sync()
        return written

    def _files(self) -> list[Path]:
        with suppress(FileNotFoundError):
            return sorted(path for path in self.folder.iterdir() if path.suffix == _SUFFIX)
        return []

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Take the turn to drain, if nobody has it."""
        try:
            stream = (self.folder / _LOCK).open("wb")
        except FileNotFoundError:
            yield False
            return
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


def folder_for(root: Path, database_url: str) -> Path:
    """Return the folder of one database: letters of one never go into another."""
    url = make_url(database_url)
    place = (url.host, url.port, url.query.get("host"), url.query.get("port"), url.database)
    digest = hashlib.sha256(json.dumps(place).encode()).hexdigest()[:16]
    return root / digest


def _read(path: Path) -> Record:
    try:
        record: Record = json.loads(path.read_bytes())
    except ValueError:
        raise SpoolError(f"spooled letter {path.name}: got no JSON") from None
    return record


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # drained meanwhile
        return path.stat().st_size
    return 0
