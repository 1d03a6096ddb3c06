"""Reading a folder: every file once through one descriptor, and everything that is not a file.

Owns walking, opening without following a link, hashing and the rule for allowed names. Leaves the
expected files to `gateproof_evidence.sealing.seal` and `gateproof_evidence.verification.bundle`,
which both read folders through this module.

Where the system opens no file relative to a folder (Windows), paths are used instead. The findings
are the same, unless another program replaces a folder by a link while it is read.

Source: design, "Verification"; RFC 8493 section 2.1.3 (names in manifests); the Python library,
os.lstat (name surrogates on Windows).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import stat
import threading
import unicodedata
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateproof_evidence.model import Digest

LONGEST_PATH = 1024
"""The most characters of a path inside a bundle; captures have far fewer."""
FORBIDDEN = frozenset('<>:"|?*')
"""Characters that Windows allows in no name; archives and uploads refuse them too."""
_DEVICE = re.compile(r"CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3]")
_PART = r"[A-Za-z0-9_-]+(?:\.+[A-Za-z0-9_-]+)*"
_PLAIN = re.compile(rf"{_PART}(?:/{_PART})*")
"""A path of plain characters, without empty parts and without points at the ends of a part."""
_DEVICES = re.compile(r"(?i)(?:^|/)(?:CON|PRN|AUX|NUL|(?:COM|LPT)[0-9])(?:[./]|$)")
"""A path of plain characters that names a device."""

DEEPEST = 32
"""The highest number of nested folders; a capture lies in four."""

_CHUNK = 256 * 1024
"""The number of bytes of one read, into one buffer for each thread."""

_THREADS = 2
"""Two, because hashing releases the GIL; more threads only wait for it."""

_BATCH = 64
"""The number of files that a thread reads in one task; their folders stay open for it."""

_PENDING = 4
"""The highest number of batches that wait or are read."""

_READING = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT")
"""Flags to open a file with; each system has some of them."""
_SURROGATE = 0x2000_0000
"""The bit in the tag of a reparse point of Windows that says: this is a name of something else."""
_SERIAL = 0xFFFF_FFFF
"""The bits of a volume's number that every Python on Windows returns."""

Oddity = Literal["link", "special", "empty-folder", "name", "lookalike", "unreadable", "limit"]


_PACKED = (b"\x1f\x8b", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")
"""Beginnings of compressed files."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of reading a folder; a larger one counts as an attack on the reader."""

    entries: int = 500_000
    """Number of files and folders: fifty times the largest bundle that was measured."""
    total: int = 64 * 1024**3
    """Total bytes of all files."""
    kept: int = 64 * 1024**2
    """Bytes of a file whose content is kept in memory, and of one line of a journal."""
    records: int = 500_000
    """Number of lines of a journal: six times the largest measured run; they take 300 MB."""


LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class File:
    """One regular file as it was read."""

    path: str
    """The relative path, with ``/`` between its parts."""
    size: int
    digest: Digest
    content: bytes | None
    """The content if it was requested and is not larger than requested; otherwise None."""


@dataclass(frozen=True, kw_only=True)
class Odd:
    """Something that a bundle must not contain."""

    kind: Oddity
    path: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The content of a folder, with files sorted by path."""

    files: tuple[File, ...]
    odd: tuple[Odd, ...]

    @property
    def complete(self) -> bool:
        """Return whether everything was read."""
        return all(one.kind != "limit" for one in self.odd)


UNREAD = "unread"
"""The digest of a file that was not read, because its size shows already that it is not listed."""

Consumer = Callable[[bytes], object]
"""Receives the content of one file in parts, as it is read."""

Feed = Mapping[str, Consumer]
"""Path to the consumer of that file."""


@dataclass(frozen=True, kw_only=True)
class Last:
    """A folder whose files are read after all others, because their consumers need these."""

    folder: str
    """Its path, with a slash at the end."""
    feed: Callable[[str], Consumer | None]
    """Returns the consumer of one of its files; called when all other files have been read."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The parameters of `read_tree`, for the readers of every form of a bundle."""

    keep: Callable[[str], int]
    feed: Feed | None = None
    limits: Limits = LIMITS
    sizes: Mapping[str, int] | None = None
    last: Last | None = None


def read_tree(
    root: Path,
    *,
    keep: Callable[[str], int],
    feed: Feed | None = None,
    limits: Limits = LIMITS,
    sizes: Mapping[str, int] | None = None,
    last: Last | None = None,
) -> Tree:
    """Read all files of a folder.

    Args:
        root: the folder; its path may contain a link, but there must be no link inside.
        keep: returns for a path the most bytes of content to keep; 0 for none.
        feed: receives contents that are too large to keep.
        limits: above one of them reading stops, and the tree is not `complete`.
        sizes: the listed size of each file. A file of more than `Limits.kept` bytes with another
            size, or one that is not listed, is not read and has the digest `UNREAD`: a file of any
            size costs nothing on a disk, if it is sparse.
        last: a folder that is read at the end.

    Returns:
        Every file with size and digest from the same read, and everything else as oddities.

    """
    files: list[File] = []
    odd: list[Odd] = []
    reader = _Reader(keep, feed or {}, limits, sizes, last)
    try:
        with contextlib.closing(reader.read(root.resolve())) as all_found:
            for found in all_found:
                if isinstance(found, File):
                    files.append(found)
                else:
                    odd.append(found)
    except _LimitError as error:
        odd.append(Odd(kind="limit", path=error.path, message=str(error)))
    files.sort(key=lambda file: file.path)
    odd += odd_names(files)
    return Tree(files=tuple(files), odd=tuple(sorted(odd, key=lambda one: (one.path, one.kind))))


def kind_of_path(path: Path) -> str:
    """Return in words what is at a path that is no folder."""
    if not path.is_file():
        there = "a link to nowhere" if path.is_symlink() else "a special file"
        return there if os.path.lexists(path) else "no such path"
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        return f"a file that cannot be read ({error.strerror})"
    if head.startswith(_PACKED) or head[257:262] == b"ustar":
        return "a tar or compressed archive (unpack it first: tar -xf)"
    return "a file"


def name_problem(path: str) -> str:
    """Return why a path is not allowed in a bundle, or an empty string.

    Allowed are paths that every system reads the same: relative, in NFC, without ``.`` and ``..``,
    backslashes, percent signs, control characters, spaces at the ends of a part, and without names
    and characters that Windows does not allow.
    """
    if _PLAIN.fullmatch(path) and len(path) <= LONGEST_PATH and not _DEVICES.search(path):
        return ""  # as nearly all names are: the rules one by one take eight times as long
    return _name_problem(path)


def _name_problem(path: str) -> str:
    """Return why a path is not allowed, by each rule in turn; empty if it is allowed."""
    if not path or len(path) > LONGEST_PATH:
        return f"got {len(path)} characters, expected 1 to {LONGEST_PATH}"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "got an empty part, '.' or '..', expected a plain relative path"
    if any(part != part.strip() for part in path.split("/")):
        return "got spaces at the end of a part, expected none"
    refused = next(filter(_is_refused_by_windows, path.split("/")), None)
    if refused is not None:
        return f"got {refused!a}, expected a name that Windows allows"
    for character in path:
        if character in "\\%" or unicodedata.category(character).startswith(("C", "Zl", "Zp")):
            return f"got {character!a}, expected printable characters without \\ and %"
    if unicodedata.normalize("NFC", path) != path:
        return "got a decomposed Unicode form, expected NFC"
    return ""


def device_name(part: str) -> str:
    """Return the device for which Windows takes a name, whatever its extension; empty for none."""
    stem = part.partition(".")[0].rstrip().upper()
    return stem if _DEVICE.fullmatch(stem) else ""


def _is_refused_by_windows(part: str) -> bool:
    return bool(device_name(part) or part.endswith(".") or FORBIDDEN & set(part))


def collision_key(path: str) -> str:
    """Return a key that is equal for paths that differ only by case or Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


class IrregularError(OSError):
    """A path is no regular file."""

    def __init__(self, kind: Literal["link", "special"]) -> None:
        number = errno.ELOOP if kind == "link" else errno.EINVAL
        super().__init__(number, os.strerror(number) if kind == "link" else "not a regular file")
        self.kind = kind


def open_file(path: str, folder: int | None = None) -> tuple[int, os.stat_result]:
    """Open a regular file for reading, without following a link or waiting for a pipe.

    Where the system cannot refuse a link when it opens a file, the opened file must be the one
    that was there before. Folders above the file are not checked.

    Args:
        path: the file; relative to the folder if there is one.
        folder: a descriptor.

    Returns:
        A descriptor, which the caller closes, and the status of the file.

    Raises:
        IrregularError: it is a link or a special file.
        OSError: it cannot be opened, or was replaced while it was opened.

    """
    before = os.lstat(path, dir_fd=folder)
    if is_link(before):
        raise IrregularError("link")
    if not stat.S_ISREG(before.st_mode):
        raise IrregularError("special")
    flags = sum(getattr(os, name, 0) for name in _READING)
    handle = os.open(path, os.O_RDONLY | flags, dir_fd=folder)
    try:
        status = os.fstat(handle)
        _refuse_replaced(before, status)
    except OSError:
        os.close(handle)
        raise
    return handle, status


def _refuse_replaced(before: os.stat_result, opened: os.stat_result) -> None:
    """Refuse a file that is not the one that was there before it was opened."""
    if not stat.S_ISREG(opened.st_mode):
        raise IrregularError("special")
    if not hasattr(os, "O_NOFOLLOW") and not _is_same(before, opened):
        raise OSError(errno.EAGAIN, "it was replaced while it was opened")


def is_link(status: os.stat_result) -> bool:
    """Return whether `os.lstat` found a symbolic link, or a junction or similar of Windows."""
    tag: int = getattr(status, "st_reparse_tag", 0)
    return stat.S_ISLNK(status.st_mode) or bool(tag & _SURROGATE)


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Compare two files by their numbers; a file system without numbers has 0 for all."""
    if not one.st_ino or not other.st_ino:
        return True
    return one.st_ino == other.st_ino and not (one.st_dev ^ other.st_dev) & _SERIAL


class _LimitError(Exception):
    """A limit of reading is exceeded."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A file to read."""

    place: str
    """Its name in the folder, or the whole path where the folder has no descriptor."""
    path: str
    folder: int | None
    """A descriptor of its folder, which the batch closes."""
    wanted: int
    """The most bytes of content to keep."""
    consumer: Consumer | None


@dataclass
class _Batch:
    """Files for one thread, and the open folders that they need."""

    entries: list[_Entry] = field(default_factory=list)
    folders: list[int] = field(default_factory=list)

    def hold(self, folder_fd: int | None) -> int | None:
        """Keep a folder open until its files are read; its own descriptor may close before."""
        if folder_fd is None:
            return None
        held = os.dup(folder_fd)
        self.folders.append(held)
        return held

    def close(self) -> None:
        for held in self.folders:
            os.close(held)
        self.folders.clear()


@dataclass
class _Reader:
    """Walks a folder, reads its files in threads, and counts against the limits."""

    keep: Callable[[str], int]
    feed: Feed
    limits: Limits
    sizes: Mapping[str, int] | None = None
    last: Last | None = None
    entries: int = 0
    total: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _local: threading.local = field(default_factory=threading.local)

    def read(self, root: Path) -> Generator[File | Odd, None, None]:
        """Yield all files and oddities, in any order.

        Raises:
            _LimitError: one of the limits is exceeded.

        """
        yield from self._read_all(self._walk(root, root))
        if self.last is not None and _is_folder(root / self.last.folder):
            yield from self._read_all(self._walk(root, root / self.last.folder))

    def _read_all(self, walked: Iterable[_Batch | Odd]) -> Generator[File | Odd, None, None]:
        pending: deque[tuple[Future[list[File | Odd]], _Batch]] = deque()
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                for found in walked:
                    if not isinstance(found, _Batch):
                        yield found
                        continue
                    pending.append((pool.submit(self._read_batch, found), found))
                    if len(pending) >= _PENDING:
                        yield from pending.popleft()[0].result()
                while pending:
                    yield from pending.popleft()[0].result()
            finally:
                for future, batch in pending:
                    if future.cancel():
                        batch.close()

    def _walk(self, root: Path, start: Path) -> Iterator[_Batch | Odd]:
        """Yield the files from one folder on, without those that are read later."""
        unreadable: list[OSError] = []
        batch = _Batch()
        try:
            for found in _walk_folders(start, unreadable.append):
                prefix = Path(found.top).relative_to(root)
                self._count(prefix, len(found.folders) + len(found.names))
                links = found.links()
                yield from _odd_folders(prefix, found, links)
                for first in range(0, len(found.names), _BATCH):
                    self._add(batch, prefix, found, found.names[first : first + _BATCH])
                    if len(batch.entries) >= _BATCH:
                        full, batch = batch, _Batch()
                        yield full
                inner = sorted(one for one in found.folders if not self._is_later(prefix / one))
                found.folders[:] = [one for one in inner if one not in links]
            full, batch = batch, _Batch()
            yield full
        finally:
            batch.close()  # the last batch, unless a thread has it
        for error in unreadable:
            yield _unreadable(Path(error.filename or "").name, error)

    def _add(self, batch: _Batch, prefix: Path, found: _Found, names: Iterable[str]) -> None:
        held = batch.hold(found.handle)
        before = "" if prefix == Path() else f"{prefix.as_posix()}/"
        for name in names:
            path = f"{before}{name}"  # `keep` may count, so only this thread calls it
            entry = _Entry(
                place=found.place(name),
                path=path,
                folder=held,
                wanted=self.keep(path),
                consumer=self._consumer(path),
            )
            batch.entries.append(entry)

    def _is_later(self, folder: Path) -> bool:
        return self.last is not None and f"{folder.as_posix()}/" == self.last.folder

    def _consumer(self, path: str) -> Consumer | None:
        if self.last is not None and path.startswith(self.last.folder):
            return self.last.feed(path)
        return self.feed.get(path)

    def _count(self, folder: Path, entries: int) -> None:
        self.entries += entries
        if self.entries > self.limits.entries:
            message = f"got more than {self.limits.entries} files and folders, expected fewer"
            raise _LimitError(".", message)
        if len(folder.parts) > DEEPEST:
            message = f"got more than {DEEPEST} nested folders, expected fewer"
            raise _LimitError(folder.as_posix(), message)

    def _read_batch(self, batch: _Batch) -> list[File | Odd]:
        try:
            return [self._read(one) for one in batch.entries]
        finally:
            batch.close()

    def _read(self, one: _Entry) -> File | Odd:
        """Open, check the type and read."""
        path = one.path
        try:
            handle, status = open_file(one.place, one.folder)
            try:
                if self._is_unlisted(path, status.st_size):
                    return File(path=path, size=status.st_size, digest=UNREAD, content=None)
                kept = bool(one.wanted) and status.st_size <= one.wanted
                return self._hash(handle, one, keep=kept)
            finally:
                os.close(handle)
        except IrregularError as error:
            return _link(path) if error.kind == "link" else _special(path)
        except OSError as error:
            return _unreadable(path, error)

    def _is_unlisted(self, path: str, size: int) -> bool:
        if self.sizes is None or size <= self.limits.kept:
            return False
        return self.sizes.get(path) != size

    def _hash(self, handle: int, one: _Entry, *, keep: bool) -> File:
        digest = hashlib.sha256()
        size = 0
        chunks: list[bytes] = []
        buffer = self._buffer()
        file = io.FileIO(handle, closefd=False)
        while count := file.readinto(buffer):
            piece = buffer[:count]
            digest.update(piece)
            size += count
            self._add_up(one.path, count)
            if keep:
                chunks.append(bytes(piece))
            if one.consumer is not None:
                one.consumer(bytes(piece))
        content = b"".join(chunks) if keep else None
        return File(
            path=one.path, size=size, digest=f"sha256:{digest.hexdigest()}", content=content
        )

    def _add_up(self, path: str, count: int) -> None:
        with self._lock:
            self.total += count
            if self.total > self.limits.total:
                message = f"got more than {self.limits.total} bytes in total, expected fewer"
                raise _LimitError(path, message)

    def _buffer(self) -> memoryview:
        if not hasattr(self._local, "buffer"):
            self._local.buffer = memoryview(bytearray(_CHUNK))
        buffer: memoryview = self._local.buffer
        return buffer


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A folder on the way."""

    top: str
    folders: list[str]
    """The folders in it, and links to folders. Those that the caller removes are not walked."""
    names: list[str]
    """Everything else in it."""
    handle: int | None
    """A descriptor of it, until the next one; None where the system has none for folders."""

    def place(self, name: str) -> str:
        """Return how the system finds something in it, relative to the descriptor if any."""
        return name if self.handle is not None else os.path.join(self.top, name)  # noqa: PTH118

    def links(self) -> set[str]:
        """Return which of the folders in it are links."""
        return {
            name for name in self.folders if is_link(os.lstat(self.place(name), dir_fd=self.handle))
        }


def _walk_folders(start: Path, onerror: Callable[[OSError], object]) -> Iterator[_Found]:
    """Yield a folder and all below it; by descriptors where the system has them for folders."""
    if hasattr(os, "fwalk"):
        for top, folders, names, handle in os.fwalk(start, follow_symlinks=False, onerror=onerror):
            yield _Found(top=top, folders=folders, names=names, handle=handle)
        return
    for path, inner, others in os.walk(start, onerror=onerror):
        yield _Found(top=path, folders=inner, names=others, handle=None)


def _is_folder(path: Path) -> bool:
    """Return whether there is a folder, and not a link to one."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and not is_link(status)


def _odd_folders(prefix: Path, found: _Found, links: Iterable[str]) -> Iterator[Odd]:
    if not found.folders and not found.names and prefix.parts:
        yield Odd(
            kind="empty-folder",
            path=prefix.as_posix(),
            message="an empty folder, which no manifest lists",
        )
    for name in links:
        yield _link((prefix / name).as_posix())


def odd_names(files: list[File]) -> list[Odd]:
    """Return the files whose names are not allowed, or look like another one."""
    return [*_bad_names(files), *_lookalikes(files)]


def _bad_names(files: list[File]) -> Iterator[Odd]:
    for file in files:
        problem = name_problem(file.path)
        if problem:
            yield Odd(kind="name", path=file.path, message=f"name: {problem}")


def _lookalikes(files: list[File]) -> Iterator[Odd]:
    """Compare every folder and file once, so that ``Data/x`` and ``data/y`` are found too."""
    first: dict[str, str] = {}
    names = {
        "/".join(parts[:depth])
        for parts in (file.path.split("/") for file in files)
        for depth in range(1, len(parts) + 1)
    }
    for name in sorted(names):
        other = first.setdefault(collision_key(name), name)
        if other != name:
            yield Odd(
                kind="lookalike",
                path=name,
                message=f"name: differs from {other} only by case or Unicode form",
            )


def _link(path: str) -> Odd:
    return Odd(kind="link", path=path, message="a link, expected a regular file")


def _special(path: str) -> Odd:
    return Odd(kind="special", path=path, message="a special file, expected a regular file")


def _unreadable(path: str, error: OSError) -> Odd:
    return Odd(kind="unreadable", path=path, message=f"not readable: {error.strerror}")
