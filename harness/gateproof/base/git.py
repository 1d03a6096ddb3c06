"""Queries to git about a checkout, where there is git and a checkout.

The answer is about the repository of the given folder: variables such as GIT_DIR and replaced
objects have no influence.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOCATIONS = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
"""Variables that name another repository or other objects; git sets some of them for its hooks."""

LINK = "120000"
"""The mode of a symbolic link in a tree; its blob is the path that it leads to."""


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A git repository with a checked-out commit."""

    root: Path
    commit: str
    algorithm: str
    """The hash of its object names: sha1 or sha256."""
    blobs: Mapping[str, str]
    """Maps the path of every file of the commit to its object name; links are left out."""

    def has(self, path: Path, content: bytes) -> bool:
        """Return whether the commit contains a file with exactly these bytes."""
        if not path.is_relative_to(self.root):
            return False
        header = f"blob {len(content)}\0".encode()
        name = hashlib.new(self.algorithm, header + content, usedforsecurity=False).hexdigest()
        return self.blobs.get(path.relative_to(self.root).as_posix()) == name

    def below(self, path: Path) -> frozenset[Path]:
        """Return the files of the commit at or below a path."""
        if not path.is_relative_to(self.root):
            return frozenset()
        name = path.relative_to(self.root).as_posix()
        if name == ".":
            return frozenset(self.root / one for one in self.blobs)
        inner = (one for one in self.blobs if one == name or one.startswith(f"{name}/"))
        return frozenset(self.root / one for one in inner)


def git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command in a checkout; None without git or a checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in LOCATIONS}
    try:
        done = subprocess.run(
            ["git", "--no-replace-objects", "-C", str(folder), *arguments],
            capture_output=True,
            check=True,
            timeout=30,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def read_checkout(folder: Path) -> Checkout | None:
    """Return the checkout that contains a folder; None without git, a checkout or a commit."""
    root = git(folder, "rev-parse", "--show-toplevel")
    commit = git(folder, "rev-parse", "--verify", "HEAD^{commit}")
    tree = git(folder, "ls-tree", "-r", "-z", "--full-tree", "HEAD")
    if root is None or commit is None or tree is None:
        return None
    blobs: dict[str, str] = {}
    for entry in filter(None, tree.split("\0")):
        facts, _, name = entry.partition("\t")
        mode, kind, blob = facts.split()
        if kind == "blob" and mode != LINK:
            blobs[name] = blob
    algorithm = "sha256" if len(commit) == hashlib.sha256().digest_size * 2 else "sha1"
    return Checkout(root=Path(root), commit=commit, algorithm=algorithm, blobs=blobs)
