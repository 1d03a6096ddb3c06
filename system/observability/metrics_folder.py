"""Provide the folder for a worker's counts: empty at its start, removed at its end.

A folder is locked as long as a process of its worker lives. A folder without a lock belongs to a
worker that was killed, and the next worker removes it. The lock also keeps systemd-tmpfiles from
emptying the folder of a worker that is idle for days. Source: flock(2); systemd-tmpfiles(8).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Differs from the name in earlier versions, which held no lock.
PREFIX = "system-worker-metrics-"


@contextmanager
def metrics_folder() -> Iterator[Path]:
    """Make a folder for this worker, and remove those of dead workers."""
    remove_abandoned(Path(tempfile.gettempdir()))
    folder, lock = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of dead workers; leave those of living workers and other accounts."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = _lock(folder)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _make() -> tuple[Path, int]:
    """Make and lock a folder; retry if another worker removed it as abandoned in between."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError, BlockingIOError):
            lock = _lock(folder)
            if os.fstat(lock).st_nlink:
                return folder, lock
            os.close(lock)


def _lock(folder: Path) -> int:
    """Lock a folder; return the descriptor that holds the lock, here and in children.

    Raises:
        OSError: the folder is locked, removed, a link, or another account's.

    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened
