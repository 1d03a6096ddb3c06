"""Write a bundle as one ZIP archive: the same files give the same bytes.

Owns the order, the times and the modes of its entries. The bytes also depend on the zlib that packs
them, so the digests that count are those of the manifests; the archive itself is not signed. Leaves
reading to `gateproof_evidence.format.archive.archive`.

Source: docs/reference/bundle.md, "One file".
"""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from gateproof_evidence.errors import EvidenceError, NotWritableError, not_writable
from gateproof_evidence.format.archive.archive import ENDING, Archive
from gateproof_evidence.format.archive.folder import Folder
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.tree import name_problem

_MOMENT = (1980, 1, 1, 0, 0, 0)
"""The earliest time that the format has."""
_MODE = stat.S_IFREG | 0o644
_UNIX = 3
"""The system whose modes the entries have, whatever system writes the archive."""


def archive_of(bundle: Path) -> Path:
    """Return the name of the archive that a run or a merge writes next to its bundle."""
    return bundle.with_name(f"{bundle.name}{ENDING}")


def write_archive(folder: Path, path: Path) -> Path:
    """Write all files of a folder as a ZIP archive, and return its path.

    Entries are sorted, deflated with zlib's default (6), and have one time and one mode. The
    archive is written under another name and renamed, so it is complete when it has its name.

    Args:
        folder: a sealed bundle.
        path: the archive; nothing may have this name yet.

    Raises:
        NotWritableError: the name is taken, or the archive cannot be written.
        EvidenceError: the folder has a link, a special file, an empty folder or an unsafe name.

    """
    _refuse_taken(path)
    with _new_file(path) as made:
        _write(made, Folder(folder), sorted(_files(folder)), {})
        _refuse_taken(path)
        made.rename(path)
    return path


def add_entries(archive: Archive, contents: Mapping[str, bytes]) -> None:
    """Write an archive again with more files, and put it in the place of the old one.

    Args:
        archive: without links or other oddities, which would be lost. It is closed.
        contents: path inside the bundle to content; none of the paths may be in it.

    Raises:
        NotWritableError: it cannot be written; the archive is then as it was.

    """
    target = archive.path.resolve()
    names = sorted({*archive.paths(), *contents})
    with _new_file(target) as made:
        _write(made, archive, names, contents, top=archive.top)
        archive.close()
        made.replace(target)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """Provide a name next to a path; nothing is left of it after an error."""
    made = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        made.unlink(missing_ok=True)
        yield made
    except OSError as error:
        raise not_writable(path, error, what="archive") from error
    finally:
        made.unlink(missing_ok=True)


def _write(
    made: Path, source: Source, names: Iterable[str], more: Mapping[str, bytes], top: str = ""
) -> None:
    with made.open("xb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in names:
                parts = [more[name]] if name in more else source.parts(name)
                size = len(more[name]) if name in more else source.size(name) or 0
                with packed.open(_entry(f"{top}{name}", size), "w") as entry:
                    for part in parts:
                        entry.write(part)
        file.flush()
        os.fsync(file.fileno())


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.create_system, entry.external_attr = _UNIX, _MODE << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.file_size = size  # decides whether its header has room for large numbers
    return entry


def _files(folder: Path) -> Iterator[str]:
    """Yield the paths of all files; refuse what an archive of files cannot hold."""
    for top, folders, names in os.walk(folder, onerror=_fail):
        inner = Path(top).relative_to(folder)
        for name in (*folders, *names):
            mode = Path(top, name).lstat().st_mode
            wanted = stat.S_ISREG(mode) if name in names else stat.S_ISDIR(mode)
            if not wanted:
                raise _odd(inner / name, "a link or a special file")
        if not folders and not names:
            raise _odd(inner, "an empty folder")
        for name in names:
            problem = name_problem((inner / name).as_posix())
            if problem:
                raise EvidenceError(f"{name!a}: archive: name: {problem}")
            yield (inner / name).as_posix()


def _fail(error: OSError) -> None:
    raise error


def _odd(path: Path, got: str) -> EvidenceError:
    return EvidenceError(f"{path}: archive: got {got}, expected regular files only")


def _refuse_taken(path: Path) -> None:
    if os.path.lexists(path):
        raise NotWritableError(
            f"{path}: archive: got a path that exists, expected a free name; archives are never "
            "overwritten"
        )
