"""Where the files of a bundle are read from, whatever its form.

Owns the interface. Leaves it to `gateproof_evidence.format.archive.folder` and
`gateproof_evidence.format.archive.archive` for a folder and a ZIP archive, and the choice between
them to `gateproof_evidence.format.archive.opening`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from gateproof_evidence.format.tree import Reading, Tree


class Cursor:
    """Reads ranges of one content, each not before the last one, and holds little more than one.

    Args:
        parts: the content.

    """

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self.position = 0
        """The earliest byte that can still be read."""
        self._held = bytearray()

    def read(self, limit: int | None, start: int) -> bytes:
        """Return at most a number of bytes from a position, which is not before `position`."""
        end = None if limit is None else start + limit
        while end is None or self.position + len(self._held) < end:
            part = next(self._parts, None)
            if part is None:
                break
            self._held += part
            self._forget(start)
        self._forget(start)
        return bytes(self._held if end is None else self._held[: max(end - self.position, 0)])

    def _forget(self, before: int) -> None:
        count = min(before - self.position, len(self._held))
        del self._held[:count]
        self.position += count


class Source(ABC):
    """The files of one bundle, by their paths inside it."""

    path: Path
    """The path that messages name."""

    @abstractmethod
    def read_tree(self, asked: Reading) -> Tree:
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

    def read(self, path: str, limit: int | None = None, start: int = 0) -> bytes:
        """Return the content of one file, or a part of it.

        Args:
            path: inside the bundle.
            limit: the most bytes to return; None for all.
            start: the number of bytes to leave out at the beginning.

        Raises:
            OSError: there is no such regular file, or it cannot be read.

        """
        return Cursor(self.parts(path)).read(limit, start)

    def lines(self, path: str) -> Iterator[bytes]:
        """Yield the lines of one file with their ends; as `parts`, it holds no more than needed."""
        rest = b""
        for part in self.parts(path):
            *whole, rest = (rest + part).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if rest:
            yield rest
