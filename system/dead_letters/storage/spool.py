"""Keep entries on local disk while the database is away, and hand them over later.

Each database has a folder, and each entry a file. A file is written under a temporary name,
synced and renamed, and the folder is synced, so that it is there completely or not at all, also
after a power cut. A file is removed once the database has its entry; an entry that is handed over
twice is written once, by the key of its row. The size is limited: a disk full of entries would
stop the workers.

Any process of any worker on the machine can put entries. One process at a time hands them over, in
the order of the failures (flock(2)). Sensitive values are masked or encrypted already.
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
    """The entries that one database could not take."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes

    def put(self, key: str, record: Record) -> None:
        """Keep a record, unless the spool has one of that key.

        Raises:
            SpoolError: the spool is full.
            OSError: the disk refuses it.

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
                f"spool {self.folder}: got {len(files)} entries and {len(data)} bytes more,"
                f" expected at most {self._limit_bytes} bytes; raise the limit, or start the"
                " database"
            )
        # The name begins with the time: names sort in the order of the failures.
        name = f"{time.time_ns():020d}-{digest}"
        partial = self.folder / f"{name}.{os.getpid()}.part"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            partial.rename(self.folder / f"{name}{_SUFFIX}")
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        self._sync()

    def find(self, key: str) -> Record | None:
        """Return the record of a key; None if there is none."""
        digest = _digest(key)
        for path in self._files():
            if path.stem.endswith(digest):
                with suppress(FileNotFoundError):  # drained in the meantime
                    record: Record = json.loads(path.read_bytes())
                    return record
        return None

    def count(self) -> int:
        """Return the number of entries."""
        return len(self._files())

    def drain(self, write: Callable[[Record], None]) -> int:
        """Write every entry, the oldest first; stop at the first that cannot be written now.

        Args:
            write: stores a record. It raises `SpoolError` for a record that can never be stored,
                which is then renamed and kept, and any other error to try again later.

        Returns:
            The number of entries written; 0 if another process is draining.

        """
        written = 0
        with self._lock() as mine:
            for path in self._files() if mine else ():
                try:
                    write(_read(path))
                except SpoolError:
                    # Kept for a person to read, and not tried again.
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
    def _lock(self) -> Iterator[bool]:
        """Lock the spool for draining; yield whether that worked."""
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
            try:
                yield True
            finally:
                # A child that was forked meanwhile has the file open too: closing it here would
                # leave the lock with the child, and no process could drain before the child ends.
                fcntl.flock(stream, fcntl.LOCK_UN)


def folder_for(root: Path, database_url: str) -> Path:
    """Return the folder of one database: its entries never go into another."""
    url = make_url(database_url)
    place = (url.host, url.port, url.query.get("host"), url.query.get("port"), url.database)
    digest = hashlib.sha256(json.dumps(place).encode()).hexdigest()[:16]
    return root / digest


def _read(path: Path) -> Record:
    try:
        record: Record = json.loads(path.read_bytes())
    except ValueError:
        raise SpoolError(f"spooled dead-letter row {path.name}: got no JSON") from None
    return record


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # drained in the meantime
        return path.stat().st_size
    return 0
