"""Copies of a project's files, for faults that change one of them.

Compiled files go along, and times are kept, so that Python need not compile the copy anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

IGNORES = ".gitignore"

BEING_WRITTEN = "*.pyc.*"
"""Names of compiled files that Python has not finished: it renames each to its final name."""


def copy_folders(root: Path, names: Iterable[str], into: Path) -> None:
    """Copy folders and files of a project whole, while its processes may be running.

    Args:
        root: the project's folder.
        names: relative to it.
        into: a folder that need not exist; an unprivileged account can enter it afterwards.

    """
    into.mkdir(parents=True, exist_ok=True)
    into.chmod(0o755)
    for name in names:
        source, target = root / name, into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            unfinished = shutil.ignore_patterns(BEING_WRITTEN)
            shutil.copytree(source, target, ignore=unfinished, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)


def copy_project(root: Path, into: Path) -> None:
    """Copy what belongs to a project, see `project_files`."""
    copy_folders(root, project_files(root), into)


def project_files(root: Path) -> list[str]:
    """Return the files of a project: all but `.git` and what its `.gitignore` files leave out.

    Git itself is not asked: a project that was unpacked from an archive has none. Not read: ignores
    outside the project's folder, and that git keeps an ignored file which was once added by force.
    """
    return sorted(_files(root, root, ()))


def _files(
    root: Path, folder: Path, above: tuple[tuple[Path, GitIgnoreSpec], ...]
) -> Iterator[str]:
    ignores = folder / IGNORES
    if ignores.is_file():
        lines = ignores.read_text(encoding="utf-8").splitlines()
        above = (*above, (folder, GitIgnoreSpec.from_lines(lines)))
    with os.scandir(folder) as entries:
        for entry in entries:
            path, inner = Path(entry.path), entry.is_dir(follow_symlinks=False)
            if entry.name == ".git" or _ignored(path, inner, above):
                continue
            if inner:
                yield from _files(root, path, above)
            elif path.is_file():
                yield path.relative_to(root).as_posix()


def _ignored(path: Path, folder: bool, above: tuple[tuple[Path, GitIgnoreSpec], ...]) -> bool:
    """Tell whether git would ignore a file or folder: the innermost word on it counts."""
    for base, spec in reversed(above):
        name = path.relative_to(base).as_posix() + ("/" if folder else "")
        said = spec.check_file(name).include
        if said is not None:
            return said
    return False
