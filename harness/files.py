"""Copies of a project's files, for faults that change one of them.

Compiled files go along, and times are kept, so that Python need not compile the copy anew.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from harness.errors import HarnessError


def copy_folders(root: Path, names: Iterable[str], into: Path) -> None:
    """Copy folders and files of a project whole.

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
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)


def copy_project(root: Path, into: Path) -> None:
    """Copy what belongs to a project: all that git would show of it, ignored files left out.

    Raises:
        HarnessError: git cannot tell, so that nobody knows what belongs to it.

    """
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others"]
    told = subprocess.run(
        [*command, "--exclude-standard"], capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise HarnessError(
            f"files of {root}: got no list from git ({told.stderr.strip()[:200]}), expected a "
            "checkout: faults on the project's files need one"
        )
    names = [name for name in told.stdout.split("\0") if name and (root / name).is_file()]
    copy_folders(root, names, into)
