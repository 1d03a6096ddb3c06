"""A bundle that is one ZIP archive: read as a folder is, and never unpacked.

Owns which bundle an archive holds, and the rules of `gateproof_evidence.format.tree` for its
entries: links, special files, empty folders and names have the same findings as in a folder. What
makes the archive itself readable in two ways is refused when it is opened. Leaves its structure to
`gateproof_evidence.format.archive.directory` and `gateproof_evidence.format.archive.local_header`.

Sign-offs and timestamps may also lie next to the archive, in folders that have its name.

Source: docs/decisions/0039; docs/reference/bundle.md, "One file".
"""

from __future__ import annotations

import errno
import hashlib
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.content import read_content
from gateproof_evidence.format.archive.directory import ArchiveError, Entry, read_directory
from gateproof_evidence.format.archive.local_header import place_entries
from gateproof_evidence.format.archive.position import open_followed, reader_of
from gateproof_evidence.format.archive.source import Cursor, Source
from gateproof_evidence.format.layout import SIGNOFFS, SIGNS, TIMESTAMPS
from gateproof_evidence.format.tree import (
    DEEPEST,
    LIMITS,
    UNREAD,
    Consumer,
    File,
    Limits,
    Odd,
    Reading,
    Tree,
    name_problem,
    odd_names,
    read_tree,
)

ENDING = ".zip"

LARGEST_WHOLE = 1024**3
"""The most bytes of an entry that is read as a whole: a small archive can declare much more."""
_KEPT_FILES = 16
"""The most bytes to keep of all entries together, as a multiple of `Limits.kept`."""
_THREADS = 2
"""As for a folder: unpacking and hashing release the GIL."""
_BATCH = 256
"""The most entries that wait for a thread; their contents are kept only where requested."""


def next_to(archive: Path, folder: str) -> Path:
    """Return the folder next to an archive that has its sign-offs or its timestamps."""
    real = archive.resolve()
    return real.with_name(f"{real.name}.{folder.rstrip('/')}")


class Archive(Source):
    """The files of a ZIP archive.

    1. The archive must be readable in one way only, by its structure.
    2. The files that identify a bundle lie at its top, or in the one folder that is there.
    3. No two entries have one path, and no path is a file and a folder.

    Args:
        path: the archive; the path to it may be a link. It stays open as long as this object.
        limits: the most entries.

    Raises:
        BadInputError: it cannot be read, one of the rules does not hold, or it is no bundle.

    """

    def __init__(self, path: Path, limits: Limits = LIMITS) -> None:
        self.path = path
        try:
            handle = open_followed(path)
        except OSError as error:
            raise _refused(path, f"got {error.strerror}, expected a readable file") from error
        self._close = weakref.finalize(self, os.close, handle)
        self._read = reader_of(handle)
        self._last = "", Cursor(iter(()))
        """The path and the cursor of the last range that was read."""
        try:
            # 1
            size = os.fstat(handle).st_size
            entries = tuple(place_entries(self._read, read_directory(self._read, size, limits)))
            # 2
            self.top = _top(entries)
            """The folder that holds the bundle, with a slash at its end; empty for none."""
            # 3
            self._entries = {one.path: one for one in _inside(entries, self.top)}
            _refuse_clashes(entries)
        except ArchiveError as error:
            raise _refused(path, str(error)) from error

    def read_tree(self, asked: Reading) -> Tree:
        """Read every entry once, and the additions next to the archive."""
        keep, limits, sizes, last = asked.keep, asked.limits, asked.sizes, asked.last
        odd = [*_odd(self._entries)]
        wanted = [one for one in self._files() if not (one.is_link or one.is_special)]
        later = {one.path for one in wanted if last and one.path.startswith(last.folder)}
        sooner = [
            _Job.of(one, keep, (asked.feed or {}).get) for one in wanted if one.path not in later
        ]
        above = _above_limits(self._entries, wanted, limits, sizes) or _above_kept(sooner, limits)
        if above is not None:
            return Tree(files=(), odd=(above,))
        reader = partial(self._hash, limits=limits, sizes=sizes)
        try:
            files = _each(reader, sooner)
            if last is not None:
                jobs = [_Job.of(one, keep, last.feed) for one in wanted if one.path in later]
                files += _each(reader, jobs)
        except ArchiveError as error:
            raise _refused(self.path, str(error)) from error
        odd += odd_names(files)
        added = self._additions(keep, limits)
        return united(files, replace(added, odd=(*odd, *added.odd)))

    def parts(self, path: str) -> Iterator[bytes]:
        """Yield the content of one entry in parts."""
        entry = self._entries.get(path)
        if entry is None or entry.is_folder or entry.is_link or entry.is_special:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        try:
            yield from read_content(self._read, entry)
        except ArchiveError as error:
            raise _refused(self.path, str(error)) from error

    def read(self, path: str, limit: int | None = None, start: int = 0) -> bytes:
        """Return the content of an entry, or a part of it.

        A range that follows the last one continues it: nothing is unpacked again.
        """
        if limit is None:
            if (self.size(path) or 0) > LARGEST_WHOLE:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
            return super().read(path, limit, start)
        known, cursor = self._last
        if known != path or start < cursor.position:
            cursor = Cursor(self.parts(path))
        self._last = path, cursor
        return cursor.read(limit, start)

    def size(self, path: str) -> int | None:
        """Return the declared size of an entry; reading it compares the size."""
        entry = self._entries.get(path)
        if entry is None or name_problem(path) or entry.is_folder:
            return None
        return None if entry.is_link or entry.is_special else entry.size

    def place(self, path: str) -> Path:
        """Return the path next to the archive: signing rewrites no archive."""
        folder, _, name = path.partition("/")
        return next_to(self.path, folder) / name

    def paths(self) -> Iterator[str]:
        """Yield the paths of all files in the archive itself."""
        return (one.path for one in self._files())

    def close(self) -> None:
        """Close the archive, of which nothing can be read then: Windows replaces no open file."""
        self._close()

    def _files(self) -> Iterator[Entry]:
        return (one for _, one in sorted(self._entries.items()) if not one.is_folder)

    def _hash(self, job: _Job, *, limits: Limits, sizes: Mapping[str, int] | None) -> File:
        entry = job.entry
        if _is_unlisted(entry, limits, sizes):
            return File(path=entry.path, size=entry.size, digest=UNREAD, content=None)
        digest = hashlib.sha256()
        kept: list[bytes] | None = [] if job.keep and entry.size <= job.keep else None
        for part in read_content(self._read, entry):
            digest.update(part)
            if kept is not None:
                kept.append(part)
            if job.consumer is not None:
                job.consumer(part)
        content = None if kept is None else b"".join(kept)
        name = f"sha256:{digest.hexdigest()}"
        return File(path=entry.path, size=entry.size, digest=name, content=content)

    def _additions(self, keep: Callable[[str], int], limits: Limits) -> Tree:
        """Read the additions next to the archive, with the paths that they would have inside."""
        files: list[File] = []
        odd: list[Odd] = []
        for folder in (SIGNOFFS, TIMESTAMPS):
            place = next_to(self.path, folder)
            if place.is_dir():
                inner = partial(_keep_in, keep, folder)
                tree = read_tree(place, keep=inner, limits=limits)
                files += [replace(one, path=f"{folder}{one.path}") for one in tree.files]
                odd += [replace(one, path=f"{folder}{one.path}") for one in tree.odd]
        return Tree(files=tuple(files), odd=tuple(odd))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """An entry to read."""

    entry: Entry
    keep: int
    """The most bytes of its content to keep."""
    consumer: Consumer | None

    @classmethod
    def of(
        cls,
        entry: Entry,
        keep: Callable[[str], int],
        feed: Callable[[str], Consumer | None],
    ) -> _Job:
        """Return the job of an entry; only the thread that reads the archive calls this."""
        return cls(entry=entry, keep=keep(entry.path), consumer=feed(entry.path))


def _keep_in(keep: Callable[[str], int], folder: str, path: str) -> int:
    return keep(f"{folder}{path}")


def _refused(path: Path, message: str) -> BadInputError:
    return BadInputError(
        f"{path}: archive: {message}; get the archive again from where the run stored it"
    )


def _each(reader: Callable[[_Job], File], jobs: list[_Job]) -> list[File]:
    """Read the entries in threads, a batch at a time, so that an error ends soon."""
    files: list[File] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(jobs), _BATCH):
            files += pool.map(reader, jobs[start : start + _BATCH])
    return files


def _top(entries: Iterable[Entry]) -> str:
    """Return the one folder at the top that holds the bundle; empty if it is at the top itself."""
    paths = {one.path for one in entries}
    if any(name in paths for name in SIGNS):
        return ""
    tops = sorted({path.partition("/")[0] for path in paths})
    held = [top for top in tops if any(f"{top}/{name}" in paths for name in SIGNS)]
    if len(held) > 1:
        raise ArchiveError(f"bundle: got {', '.join(map(ascii, held))}, expected one")
    if not held:
        raise ArchiveError(f"bundle: got an archive without {', '.join(SIGNS)}, expected a bundle")
    others = [top for top in tops if top != held[0]]
    if others or name_problem(held[0]):
        found = ", ".join(map(ascii, others or held))
        raise ArchiveError(f"bundle: got {found} next to its folder, expected that folder only")
    return f"{held[0]}/"


def _inside(entries: Iterable[Entry], top: str) -> Iterator[Entry]:
    """Yield the entries with their paths inside the bundle."""
    for one in entries:
        if f"{one.path}/" != top:
            yield replace(one, path=one.path.removeprefix(top))


def _refuse_clashes(entries: Iterable[Entry]) -> None:
    """Refuse two entries of one path, and a file that is also the folder of another entry."""
    files: dict[str, bool] = {}
    for one in entries:
        if one.path in files:
            raise ArchiveError(f"entry {one.path!a}: got it twice, expected each path once")
        files[one.path] = not one.is_folder
    for path in _folders(files):
        if files.get(path):
            raise ArchiveError(f"entry {path!a}: got a file and a folder, expected one of them")


def _folders(paths: Iterable[str]) -> set[str]:
    """Return the folders above the paths, down to the first that is too deep.

    Without that limit, a short archive could name folders that need more memory than there is.
    """
    found: set[str] = set()
    for path in paths:
        parts = path.split("/", DEEPEST + 2)[:-1]
        folder = "/".join(parts[: DEEPEST + 1])
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def _odd(entries: Mapping[str, Entry]) -> Iterator[Odd]:
    """Yield what a bundle must not contain, with the findings that a folder would have."""
    folders = _folders(entries)
    for path, one in entries.items():
        if one.is_link:
            yield Odd(kind="link", path=path, message="a link, expected a regular file")
        elif one.is_special:
            message = "a special file, expected a regular file"
            yield Odd(kind="special", path=path, message=message)
        elif one.is_folder and path not in folders:
            message = "an empty folder, which no manifest lists"
            yield Odd(kind="empty-folder", path=path, message=message)


def _above_limits(
    entries: Mapping[str, Entry],
    files: Iterable[Entry],
    limits: Limits,
    sizes: Mapping[str, int] | None,
) -> Odd | None:
    """Return the limit that is exceeded, if any: all of them are known before anything is read."""
    count = len(_folders(entries) | entries.keys())
    if count > limits.entries:
        message = f"got more than {limits.entries} files and folders, expected fewer"
        return Odd(kind="limit", path=".", message=message)
    total = 0
    for one in sorted(entries.values(), key=lambda entry: entry.path):
        folders = one.path.split("/")[: None if one.is_folder else -1]
        if len(folders) > DEEPEST:
            message = f"got more than {DEEPEST} nested folders, expected fewer"
            return Odd(kind="limit", path="/".join(folders[: DEEPEST + 1]), message=message)
    for one in files:
        total += 0 if _is_unlisted(one, limits, sizes) else one.size
        if total > limits.total:
            message = f"got more than {limits.total} bytes in total, expected fewer"
            return Odd(kind="limit", path=one.path, message=message)
    return None


def _above_kept(jobs: Iterable[_Job], limits: Limits) -> Odd | None:
    """Return the first entry whose content would need more memory than may be kept."""
    most, kept = _KEPT_FILES * limits.kept, 0
    for one in jobs:
        kept += one.entry.size if one.entry.size <= one.keep else 0
        if kept > most:
            message = f"got more than {most} bytes of records, expected fewer"
            return Odd(kind="limit", path=one.entry.path, message=message)
    return None


def _is_unlisted(entry: Entry, limits: Limits, sizes: Mapping[str, int] | None) -> bool:
    """Return whether a large entry has another size than listed, so that it need not be read."""
    if sizes is None or entry.size <= limits.kept:
        return False
    return sizes.get(entry.path) != entry.size


def united(files: Iterable[File], tree: Tree) -> Tree:
    """Return a tree with more files; the same addition may be in an archive and next to it.

    Another file of the same path is an oddity.
    """
    found = {one.path: one for one in files}
    odd = list(tree.odd)
    for one in tree.files:
        known = found.setdefault(one.path, one)
        if known.digest != one.digest:
            message = "name: another file of this name is next to the archive"
            odd.append(Odd(kind="lookalike", path=one.path, message=message))
    return Tree(
        files=tuple(sorted(found.values(), key=lambda file: file.path)),
        odd=tuple(sorted(odd, key=lambda one: (one.path, one.kind))),
    )
