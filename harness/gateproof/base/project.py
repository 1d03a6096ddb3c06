"""Copies of a project's files, for faults that change one of them.

Compiled files are copied too, and times are kept, so that Python need not compile the copy again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from gateproof.base.compiled import COMPILED

IGNORES = ".gitignore"

UNFINISHED = "*.pyc.*"
"""Temporary names of compiled files that Python is still writing."""


def copy_folders(root: Path, names: Iterable[str], into: Path) -> None:
    """Copy whole folders and files of a project; its processes may be running.

    Args:
        root: the project's folder.
        names: paths relative to it.
        into: the target, created if missing; an unprivileged account can enter it afterwards.

    """
    into.mkdir(parents=True, exist_ok=True)
    into.chmod(0o755)
    for name in names:
        source, target = root / name, into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            _copy_tree(source, target)
        else:
            shutil.copy2(source, target)


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a folder; a compiled file that another process removes meanwhile is left out.

    Each pytest removes compiled files when it starts, see `gateproof.base.compiled`.

    Raises:
        shutil.Error: other files could not be copied.

    """
    unfinished = shutil.ignore_patterns(UNFINISHED)
    try:
        shutil.copytree(source, target, ignore=unfinished, dirs_exist_ok=True)
    except shutil.Error as error:
        failed = [one for one in error.args[0] if COMPILED not in Path(one[0]).parts]
        if failed:
            raise shutil.Error(failed) from error


def copy_project(root: Path, into: Path) -> None:
    """Copy the files of a project, see `project_files`."""
    copy_folders(root, project_files(root), into)


def project_files(root: Path) -> list[str]:
    """Return the files of a project: all but `.git` and those that a `.gitignore` excludes.

    Git is not called: a project that was unpacked from an archive has no checkout. Not considered:
    ignore files outside the project's folder, and ignored files that were added by force.
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
    """Return whether git would ignore a file or folder: the innermost matching rule decides."""
    for base, spec in reversed(above):
        name = path.relative_to(base).as_posix() + ("/" if folder else "")
        ignored = spec.check_file(name).include
        if ignored is not None:
            return ignored
    return False
