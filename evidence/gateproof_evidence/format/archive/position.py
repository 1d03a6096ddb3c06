"""Reading bytes at positions of an open file, by several threads.

Owns opening the file and the two ways of reading. Leaves the bytes to
`gateproof_evidence.format.archive.directory` and its neighbours.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path

from gateproof_evidence.format.archive.directory import Read

_FLAGS = ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT")
"""Flags to open a file with; each system has some of them."""


def open_followed(path: Path) -> int:
    """Open a file for reading, also through a link, without waiting for a pipe.

    Raises:
        OSError: it cannot be opened.

    """
    return os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in _FLAGS))


def reader_of(handle: int) -> Read:
    """Return a function that reads a number of bytes from a position, in any thread."""
    if hasattr(os, "pread"):
        return partial(os.pread, handle)
    return partial(_seek_and_read, handle, threading.Lock())


def _seek_and_read(handle: int, lock: threading.Lock, count: int, position: int) -> bytes:
    """Read where no function does both at once: threads share one position in the file."""
    with lock:
        os.lseek(handle, position, os.SEEK_SET)
        return os.read(handle, count)
