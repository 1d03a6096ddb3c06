"""Files that may be added to a bundle after it was sealed: sign-offs and timestamps.

Owns the two folders, their limits, and adding files to them. Leaves the content of these files to
`gateproof_evidence.additions.sign_off` and `gateproof_evidence.additions.timestamp`. A file is
allowed only if it can be parsed and names this bundle's attestation.

Source: design, "Order of sealing"; docs/reference/verification.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from gateproof_evidence.errors import NotWritableError
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.layout import SIGNOFFS, TIMESTAMPS
from gateproof_evidence.format.tree import File

LARGEST = 64 * 1024
"""The most bytes of one such file; the largest known signature and timestamp have 7 KiB."""

MOST = 1000
"""The most files that are read; far more than a bundle has reviewers."""


class AdditionLimit:
    """Limits how much of each added file is read, and how many of these files."""

    def __init__(self) -> None:
        self._left = MOST

    def limit(self, path: str) -> int:
        """Return how many bytes of a file's content to keep; 0 for a file that was sealed."""
        if not is_addition(path) or self._left == 0:
            return 0
        self._left -= 1
        return LARGEST


def is_addition(path: str) -> bool:
    """Return whether a path lies in a folder where files may be added."""
    return path.startswith((SIGNOFFS, TIMESTAMPS))


def in_folder(files: Iterable[File], folder: str) -> tuple[File, ...]:
    """Return the files that lie in one of the two folders."""
    return tuple(file for file in files if file.path.startswith(folder))


def add(bundle: Source, contents: Mapping[str, bytes]) -> None:
    """Write new files into a sealed bundle, or next to its archive; all of them or none.

    Args:
        bundle: the bundle.
        contents: path inside the bundle to content.

    Raises:
        NotWritableError: a file exists already, or the folder cannot be written.

    """
    written: list[Path] = []
    try:
        for name, content in contents.items():
            path = bundle.place(name)
            path.parent.mkdir(exist_ok=True)
            # O_EXCL: a link of that name is a file that exists.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            written.append(path)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        _remove(written)
        raise NotWritableError(
            f"{bundle.path}: adding to the bundle: got {error.strerror}, expected to write "
            f"{', '.join(contents)}; make the folder writable, or sign a copy"
        ) from error


def _remove(paths: Iterable[Path]) -> None:
    """Remove incomplete files and an empty folder: verification would report both."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
            path.parent.rmdir()
