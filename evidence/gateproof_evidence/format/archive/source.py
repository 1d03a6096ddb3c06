"""Where the files of a bundle are read from, whatever its form.

Owns the interface. Leaves it to `gateproof_evidence.format.archive.folder` and
`gateproof_evidence.format.archive.archive` for a folder and a ZIP archive, and the choice between
them to `gateproof_evidence.format.archive.opening`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gateproof_evidence.format.tree import LIMITS, Feed, Limits, Tree


class Source(ABC):
    """The files of one bundle, by their paths inside it."""

    path: Path
    """The path that messages name."""

    @abstractmethod
    def read_tree(
        self,
        *,
        keep: Callable[[str], int],
        feed: Feed | None = None,
        limits: Limits = LIMITS,
        sizes: Mapping[str, int] | None = None,
    ) -> Tree:
        """Read all files once, as `gateproof_evidence.format.tree.read_tree` does."""

    @abstractmethod
    def parts(self, path: str) -> Iterator[bytes]:
        """Yield the content of one file in parts.

        Raises:
            OSError: there is no such regular file, or it cannot be read.

        """

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes; None if there is no such regular file."""

    @abstractmethod
    def place(self, path: str) -> Path:
        """Return where an addition to the bundle is written: inside it, or next to an archive."""

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the content of one file, or its beginning.

        Args:
            path: inside the bundle.
            limit: the most bytes to return; None for all.

        Raises:
            OSError: there is no such regular file, or it cannot be read.

        """
        found = bytearray()
        for part in self.parts(path):
            found += part
            if limit is not None and len(found) >= limit:
                return bytes(found[:limit])
        return bytes(found)

    def lines(self, path: str) -> Iterator[bytes]:
        """Yield the lines of one file with their ends; as `parts`, it holds no more than needed."""
        rest = b""
        for part in self.parts(path):
            *whole, rest = (rest + part).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if rest:
            yield rest
