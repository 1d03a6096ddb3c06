"""The folder that all processes of a worker count in: empty at its start, gone after its end.

A folder is locked as long as a process of its worker lives, so that whoever finds one without a
lock may remove it: a worker that was killed could not. The lock is also what keeps systemd-tmpfiles
from emptying the folder of a worker that is quiet for days. Source: flock(2); systemd-tmpfiles(8).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Told apart from the name of earlier versions, which hold no lock.
PREFIX = "system-worker-metrics-"


@contextmanager
def metrics_folder() -> Iterator[Path]:
    """Give a folder of this worker's own, and remove those whose workers are dead."""
    remove_abandoned(Path(tempfile.gettempdir()))
    folder, lock = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of workers that are dead; leave those of others and of other accounts."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = _lock(folder)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _make() -> tuple[Path, int]:
    """Make and lock a folder; once more if another worker took it for abandoned in between."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError, BlockingIOError):
            lock = _lock(folder)
            if os.fstat(lock).st_nlink:
                return folder, lock
            os.close(lock)


def _lock(folder: Path) -> int:
    """Lock a folder and return the descriptor that holds the lock, here and in children.

    Raises:
        OSError: it is locked, gone, a link or another account's.

    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened
