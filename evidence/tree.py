"""What lies in a folder: every file read once through one descriptor, and all that is not a file.

Owns walking, hashing and the rule of which names are allowed. Leaves what ought to be there to
`evidence.sealing` and `evidence.verification`, which both read through here.

Source: design, "Verification"; RFC 8493 section 2.1.3 (names in manifests).
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from evidence.errors import EvidenceError
from evidence.model import Digest

LONGEST_PATH = 1024
"""Characters of a path inside a bundle; far more than any capture has."""

MOST_FILES = 500_000
"""Fifty times the largest bundle that was measured; more would be an attack on the reader."""

LARGEST_KEPT = 256 * 1024 * 1024
"""Bytes of a file whose content is kept in memory; others are only hashed."""

_CHUNK = 1024 * 1024

Oddity = Literal["link", "special", "empty-folder", "name", "lookalike", "unreadable"]


@dataclass(frozen=True, kw_only=True)
class File:
    """One regular file as it was read."""

    path: str
    """Relative, with ``/`` between its parts."""
    size: int
    digest: Digest
    content: bytes | None
    """Only where it was asked for, and not larger than was asked for."""


@dataclass(frozen=True, kw_only=True)
class Odd:
    """Something that a bundle must not hold."""

    kind: Oddity
    path: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Tree:
    """All that a folder holds, files sorted by path."""

    files: tuple[File, ...]
    odd: tuple[Odd, ...]


def read_tree(root: Path, *, keep: Callable[[str], int]) -> Tree:
    """Read a folder completely.

    Args:
        root: the folder; it may be reached through a link, nothing inside may be one.
        keep: says for a path how many bytes of content at most are wanted; 0 for none.

    Returns:
        Every file with size and digest of the same read, and everything else as oddities.

    Raises:
        EvidenceError: the folder holds more than `MOST_FILES` files.

    """
    files: list[File] = []
    odd: list[Odd] = []
    for found in _walk(root.resolve(), keep):
        if isinstance(found, File):
            files.append(found)
        else:
            odd.append(found)
        if len(files) > MOST_FILES:
            raise EvidenceError(f"{root}: files: got more than {MOST_FILES}, expected fewer")
    files.sort(key=lambda file: file.path)
    odd += [*_bad_names(files), *_lookalikes(files)]
    return Tree(files=tuple(files), odd=tuple(sorted(odd, key=lambda one: (one.path, one.kind))))


def name_problem(path: str) -> str:
    """Say why a path may not stand in a bundle, or return an empty string.

    Allowed is what reads the same everywhere: relative, in NFC, without ``.`` and ``..``,
    backslashes, percent signs, control characters, or blanks at the ends of a part.
    """
    if not path or len(path) > LONGEST_PATH:
        return f"got {len(path)} characters, expected 1 to {LONGEST_PATH}"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "got an empty part, '.' or '..', expected a plain relative path"
    if any(part != part.strip() for part in path.split("/")):
        return "got blanks at the end of a part, expected none"
    for character in path:
        if character in "\\%" or unicodedata.category(character).startswith(("C", "Zl", "Zp")):
            return f"got {character!a}, expected printable characters without \\ and %"
    if unicodedata.normalize("NFC", path) != path:
        return "got a decomposed Unicode form, expected NFC"
    return ""


def look(path: str) -> str:
    """Return a key under which paths collide that differ by case or Unicode form only."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _walk(root: Path, keep: Callable[[str], int]) -> Iterator[File | Odd]:
    unreadable: list[OSError] = []
    for top, folders, names, top_fd in os.fwalk(
        root, follow_symlinks=False, onerror=unreadable.append
    ):
        prefix = Path(top).relative_to(root)
        if not folders and not names and prefix.parts:
            yield Odd(
                kind="empty-folder", path=prefix.as_posix(), message="an empty folder is not listed"
            )
        for name in folders:
            if stat.S_ISLNK(os.lstat(name, dir_fd=top_fd).st_mode):
                yield _link((prefix / name).as_posix())
        for name in names:
            path = (prefix / name).as_posix()
            yield _read(name, path, top_fd, keep=keep(path))
        folders.sort()
    for error in unreadable:
        yield _unreadable(Path(error.filename or "").name, error)


def _read(name: str, path: str, top_fd: int, *, keep: int) -> File | Odd:
    """Open without following links or waiting for a pipe's other end, then judge and read."""
    try:
        mode = os.lstat(name, dir_fd=top_fd).st_mode
        if stat.S_ISLNK(mode):
            return _link(path)
        if not stat.S_ISREG(mode):
            return _special(path)
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=top_fd)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                return _special(path)
            return _hash(file, path, keep=bool(keep) and status.st_size <= keep)
    except OSError as error:
        return _unreadable(path, error)


def _hash(file: IO[bytes], path: str, *, keep: bool) -> File:
    digest = hashlib.sha256()
    size = 0
    chunks: list[bytes] = []
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if keep:
            chunks.append(chunk)
    content = b"".join(chunks) if keep else None
    return File(path=path, size=size, digest=f"sha256:{digest.hexdigest()}", content=content)


def _bad_names(files: list[File]) -> Iterator[Odd]:
    for file in files:
        problem = name_problem(file.path)
        if problem:
            yield Odd(kind="name", path=file.path, message=f"name: {problem}")


def _lookalikes(files: list[File]) -> Iterator[Odd]:
    """Compare every folder and file once, so that ``Data/x`` beside ``data/y`` is seen too."""
    first: dict[str, str] = {}
    names = {
        "/".join(parts[:depth])
        for parts in (file.path.split("/") for file in files)
        for depth in range(1, len(parts) + 1)
    }
    for name in sorted(names):
        other = first.setdefault(look(name), name)
        if other != name:
            yield Odd(
                kind="lookalike",
                path=name,
                message=f"name: differs from {other} only by case or Unicode form",
            )


def _link(path: str) -> Odd:
    return Odd(kind="link", path=path, message="a link, expected a regular file")


def _special(path: str) -> Odd:
    return Odd(kind="special", path=path, message="no regular file, link or folder")


def _unreadable(path: str, error: OSError) -> Odd:
    return Odd(kind="unreadable", path=path, message=f"not readable: {error.strerror}")
