"""Queries to git about a checkout, where there is git and a checkout.

The answer is about the repository of the given folder: variables such as GIT_DIR and replaced
objects have no influence. The files of a commit are read from objects whose content has their name:
git itself does not check that of a folder's object when it lists a commit.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

KEPT = ("GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
"""Variables of git that are passed on. All others are not: they name another repository, other
objects or other settings; git sets some of them for its hooks."""

FOLDER = "40000"
"""The mode of a folder in a tree."""
FILES = ("100644", "100755", "100664")
"""The modes of a file in a tree."""
LINK = "120000"
"""The mode of a symbolic link in a tree; its blob is the path that it leads to."""


LFS = b"version https://git-lfs.github.com/spec/v1"
"""The first line of a blob that stands for a large file (Git LFS), and has its digest."""


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A git repository with a checked-out commit."""

    root: Path
    commit: str
    algorithm: str
    """The hash of its object names: sha1 or sha256."""
    blobs: Mapping[str, str]
    """Maps the path of every file of the commit to its object name; links are left out."""
    links: Mapping[str, str]
    """Maps the path of every symbolic link of the commit to the object name of its target."""
    _known: dict[str, bool] = field(default_factory=dict, compare=False)
    """Whether a folder of the checkout is a link, for those that were asked."""

    def has(self, path: Path) -> bool:
        """Return whether the commit contains a file with exactly these bytes.

        Every link on the way to the file must be of the commit too, with the same target.
        """
        place = self._follow(path)
        return place is not None and self.blobs.get(place) == self._name(self.root / place)

    def has_links(self, path: Path) -> bool:
        """Return whether all links of the commit at or below a path are there, unchanged."""
        return all(self._is_same_link(one) for one in _below(self.links, self._place(path)))

    def below(self, path: Path) -> frozenset[Path]:
        """Return the files of the commit at or below a path; links are left out."""
        return frozenset(self.root / one for one in _below(self.blobs, self._place(path)))

    def is_whole(self) -> bool:
        """Return whether every file and link of the commit is there, unchanged.

        Large files of Git LFS, and line ends that git converts, count as unchanged.
        """
        return self.has_links(self.root) and all(
            self.has(self.root / place) or self._is_converted(place, blob)
            for place, blob in self.blobs.items()
        )

    def _follow(self, path: Path) -> str | None:
        """Return the place of a file in the checkout, or None if a link on the way is unknown."""
        left, passed = self._parts(path), list[str]()
        for _ in range(MOST_STEPS):
            if not left:
                return "/".join(passed) or "."
            part = left.pop(0)
            if part == "..":
                if not passed:
                    return None
                passed.pop()
                continue
            place = "/".join((*passed, part))
            if not self._is_link(place, is_last=not left):
                passed.append(part)
                continue
            target = self._target(place)
            if target is None:
                return None
            left = [*target.parts, *left]
        return None

    def _parts(self, path: Path) -> list[str]:
        """Return the names on the way from the root of the checkout to a file."""
        name, above = str(path), f"{self.root}{os.sep}"
        inside = name.startswith(above) and ".." not in name
        relative = name.removeprefix(above) if inside else os.path.relpath(path, self.root)
        return [one for one in relative.split(os.sep) if one != "."]  # noqa: PTH206 (faster)

    def _target(self, place: str) -> PurePath | None:
        """Return where a link leads; None if the commit has another one, or none."""
        if not self._is_same_link(place):
            return None
        target = PurePath(Path(self.root, place).readlink())
        return None if target.is_absolute() else target

    def _is_link(self, place: str, *, is_last: bool) -> bool:
        """Return whether a link stands there; of the folders on the way, each is asked once."""
        path = f"{self.root}{os.sep}{place}"
        if is_last:
            return os.path.islink(path)  # noqa: PTH114 (faster)
        if place not in self._known:
            self._known[place] = os.path.islink(path)  # noqa: PTH114 (faster)
        return self._known[place]

    def _is_same_link(self, place: str) -> bool:
        path = self.root / place
        if not path.is_symlink():
            return False
        return self.links.get(place) == _object_name("blob", os.fsencode(path.readlink()), self)

    def _is_converted(self, place: str, blob: str) -> bool:
        """Return whether git made a file from a blob by a conversion that changes no meaning."""
        path = self.root / place
        if not path.is_file() or self._follow(path) != place:
            return False
        content = path.read_bytes()
        if _object_name("blob", content.replace(b"\r\n", b"\n"), self) == blob:
            return True
        found = read_objects(self.root, [blob], self.algorithm) or {}
        pointer = found.get(blob, b"")
        oid = b"oid sha256:" + hashlib.sha256(content).hexdigest().encode()
        return pointer.startswith(LFS) and oid in pointer.splitlines()

    def _name(self, path: Path) -> str | None:
        return _object_name("blob", path.read_bytes(), self) if path.is_file() else None

    def _place(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


MOST_STEPS = 200
"""The most folders and links on the way to a file; links can form a circle."""


def _object_name(kind: str, content: bytes, checkout: Checkout) -> str:
    return _named(kind.encode(), content, checkout.algorithm)


def _named(kind: bytes, content: bytes, algorithm: str) -> str:
    header = b"%s %d\0" % (kind, len(content))
    return hashlib.new(algorithm, header + content, usedforsecurity=False).hexdigest()


def _below(places: Mapping[str, str], place: str) -> list[str]:
    if place == ".":
        return list(places)
    return [one for one in places if one == place or one.startswith(f"{place}/")]


def git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command in a checkout; None without git or a checkout."""
    done = _run(folder, *arguments)
    return None if done is None else done.decode("utf-8", "surrogateescape").strip()


def _run(folder: Path, *arguments: str, content: bytes = b"") -> bytes | None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or not name.startswith("GIT_")
    }
    try:
        return subprocess.run(
            ["git", "--no-replace-objects", "-C", str(folder), *arguments],
            input=content,
            capture_output=True,
            check=True,
            timeout=60,
            env=environment,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def read_objects(folder: Path, names: Sequence[str], algorithm: str) -> dict[str, bytes] | None:
    """Return the content of git objects by name.

    Returns:
        None if one is missing, or its content is not the one that its name stands for.

    """
    asked = "".join(f"{name}\n" for name in names).encode()
    answer = _run(folder, "cat-file", "--batch", content=asked)
    found: dict[str, bytes] = {}
    for name in names:
        header, _, answer = (answer or b"").partition(b"\n")
        facts = header.split()
        if len(facts) != 3 or not facts[2].isdigit():
            return None
        size = int(facts[2])
        content, answer = answer[:size], answer[size + 1 :]
        if _named(facts[1], content, algorithm) != name:
            return None
        found[name] = content
    return found


def read_checkout(folder: Path) -> Checkout | None:
    """Return the checkout that contains a folder.

    Returns:
        None without git, a checkout, a commit, or whole objects of that commit; and where the
        settings of the repository name another folder as its checkout.

    """
    root = git(folder, "rev-parse", "--show-toplevel")
    commit = git(folder, "rev-parse", "--verify", "HEAD^{commit}")
    if root is None or commit is None or not folder.resolve().is_relative_to(Path(root).resolve()):
        return None
    algorithm = "sha256" if len(commit) == hashlib.sha256().digest_size * 2 else "sha1"
    entries = _read_entries(folder, commit, algorithm)
    if entries is None:
        return None
    return Checkout(
        root=Path(root).resolve(),
        commit=commit,
        algorithm=algorithm,
        blobs={place: name for place, (mode, name) in entries.items() if mode in FILES},
        links={place: name for place, (mode, name) in entries.items() if mode == LINK},
    )


def _read_entries(folder: Path, commit: str, algorithm: str) -> dict[str, tuple[str, str]] | None:
    """Return mode and object name of all that a commit contains, by path."""
    first = read_objects(folder, [commit], algorithm)
    if first is None:
        return None
    found: dict[str, tuple[str, str]] = {}
    open_folders = [("", first[commit].split(maxsplit=2)[1].decode("ascii"))]
    while open_folders:  # all folders of one depth at a time: one process each
        contents = read_objects(folder, sorted({name for _, name in open_folders}), algorithm)
        if contents is None:
            return None
        inner: list[tuple[str, str]] = []
        for prefix, tree in open_folders:
            for mode, name, entry in _parse_tree(contents[tree], algorithm):
                place = f"{prefix}{name}"
                if mode == FOLDER:
                    inner.append((f"{place}/", entry))
                else:
                    found[place] = mode, entry
        open_folders = inner
    return found


def _parse_tree(content: bytes, algorithm: str) -> Iterator[tuple[str, str, str]]:
    """Yield mode, name and object name of each entry of a folder's object."""
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    while content:
        facts, _, rest = content.partition(b"\0")
        mode, _, name = facts.partition(b" ")
        yield mode.decode("ascii"), name.decode("utf-8", "surrogateescape"), rest[:size].hex()
        content = rest[size:]


def has_changes(folder: Path, checkout: Checkout | None) -> bool | None:
    """Return whether a checkout differs from its commit; None if that is unknown.

    Files count that only this clone ignores, and changes that its index hides.
    """
    status = git(
        folder, "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none"
    )
    others = git(
        folder,
        *("ls-files", "--others", "--directory", "--exclude-per-directory=.gitignore"),
        *("--full-name", ":/"),
    )
    if checkout is None or status is None or others is None:
        return None
    return bool(status) or bool(others) or not checkout.is_whole()
