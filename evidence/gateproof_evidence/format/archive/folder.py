"""A bundle that is a folder.

Leaves reading all of it to `gateproof_evidence.format.tree`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.tree import (
    Reading,
    Tree,
    is_link,
    name_problem,
    open_file,
    read_tree,
)

_CHUNK = 256 * 1024


class Folder(Source):
    """The files of a folder; no file is read through a link inside it.

    Args:
        path: the folder; the path to it may be a link.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()
        self._plain: dict[str, bool] = {"": True}
        """Folder to whether it and all its parents are folders and not links."""

    def read_tree(self, asked: Reading) -> Tree:
        """Read all files of the folder."""
        return read_tree(self._root, **vars(asked))

    def parts(self, path: str) -> Iterator[bytes]:
        """Yield the content of one file in parts; a pipe is not waited for."""
        with self._open(path) as file:
            while part := file.read(_CHUNK):
                yield part

    def read(self, path: str, limit: int | None = None, start: int = 0) -> bytes:
        """Return the content of one file, or a part of it."""
        with self._open(path) as file:
            file.seek(start)
            return file.read(-1 if limit is None else limit)

    def _open(self, path: str) -> BinaryIO:
        if name_problem(path) or not self._is_plain(path.rpartition("/")[0]):
            # On Windows, a backslash, a colon or the name of a device leads out of the folder.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return os.fdopen(open_file(f"{self._root}/{path}")[0], "rb")

    def size(self, path: str) -> int | None:
        """Return the size of a file; follow no link or path out of the folder."""
        folder, _, name = path.rpartition("/")
        if name_problem(path) or not self._is_plain(folder):
            return None
        found = self._status(path)
        return found.st_size if name and found and stat.S_ISREG(found.st_mode) else None

    def place(self, path: str) -> Path:
        """Return the path in the folder."""
        return self.path / path

    def _is_plain(self, folder: str) -> bool:
        if folder not in self._plain:
            found = self._status(folder)
            here = found is not None and stat.S_ISDIR(found.st_mode) and not is_link(found)
            self._plain[folder] = here and self._is_plain(folder.rpartition("/")[0])
        return self._plain[folder]

    def _status(self, path: str) -> os.stat_result | None:
        try:
            return os.lstat(f"{self._root}/{path}")
        except OSError:
            return None
