"""The origin of files: the commit of their repository, or the record of their distribution.

Owns comparing files with either. A file counts as changed if its bytes differ from the commit, or
if the commit lacks it, whether git ignores it or not. Not checked: the interpreter itself, and code
that hides from it.

Source: docs/reference/verification.md, "What the verdicts depend on".
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    PackagePath,
    distribution,
    distributions,
    packages_distributions,
)
from pathlib import Path

from gateproof.base.git import Checkout, git, read_checkout
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.model import Bound, Digest, Part
from gateproof_evidence.verification.source import (
    COMPILED,
    digest_of_files,
    digest_of_path,
    source_files,
)

UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
"""The files that a RECORD lists without a digest."""

RECORD = "RECORD"
"""The file of an installed distribution that lists its files with their digests (PEP 376)."""
SITE = ("site-packages", "dist-packages")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where files come from, and whether they have changed since; see `Bound` for the fields."""

    commit: str | None = None
    dirty: bool | None = None
    distribution: str | None = None
    version: str | None = None
    record: Digest | None = None


class Origins:
    """Finds the origins of files; repositories and distributions are read once."""

    def __init__(self) -> None:
        self._checkouts: dict[str | None, Checkout | None] = {}
        self._roots: dict[Path, str | None] = {}

    def of_path(self, part: Part, path: Path) -> Bound:
        """Return the origin of a file, or of the files of a folder.

        Args:
            part: the role of the files.
            path: an existing file or folder; links are followed.

        Raises:
            OSError: a file cannot be read.

        """
        path = path.resolve()
        files = source_files(path)
        place, origin = self._place(path, files)
        return Bound(
            part=part,
            path=place,
            digest=digest_of_files(files) if path.is_dir() else digest_of_path(path),
            files=len(files),
            **asdict(origin),
        )

    def of_distribution(self, part: Part, name: str) -> Bound | None:
        """Return the origin of an installed distribution, or None without files of its own."""
        try:
            owner = distribution(name)
        except PackageNotFoundError:
            return None
        listed = {str(one): Path(str(one.locate())) for one in _listed(owner)}
        files = {name: path for name, path in listed.items() if path.is_file()}
        if not files:
            return None
        origin = _installed(owner, files)
        digest = digest_of_files(files)
        return Bound(part=part, path=name, digest=digest, files=len(files), **asdict(origin))

    def is_as_installed(self, path: Path) -> bool:
        """Return whether a file has the digest in the RECORD of an installed distribution.

        Args:
            path: where the file is, all links followed.

        """
        algorithm, _, digest = self._recorded.get(str(path), "").partition("=")
        return bool(algorithm) and path.is_file() and _has_digest(path, algorithm, digest)

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """The folders that distributions are installed into."""
        own = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        found = own | {one for one in sys.path if Path(one).name in SITE}
        return tuple(sorted(Path(one).resolve() for one in found))

    @cached_property
    def _recorded(self) -> Mapping[str, str]:
        """Maps the path of each installed file to its digest in the RECORD, with the algorithm.

        A RECORD is only believed for files in its own folder, and for the start scripts of this
        Python. A name in it that leads there through a link is not followed: 30,000 names are read.
        """
        own, scripts = (os.path.realpath(sysconfig.get_path(one)) for one in ("purelib", "scripts"))
        found: dict[str, str] = {}
        for owner in distributions():
            folder = os.path.realpath(str(owner.locate_file("")))
            inside = tuple(
                f"{one}{os.sep}" for one in ((folder, scripts) if folder == own else (folder,))
            )
            for name, digest in _read_record(owner.read_text(RECORD) or ""):
                if name.startswith("/") or "./" in name or "//" in name:
                    path = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 (faster)
                    if not path.startswith(inside):
                        continue
                else:
                    path = f"{folder}{os.sep}{name}"
                found.setdefault(path, digest)
        return found

    @cached_property
    def _packages(self) -> Mapping[str, list[str]]:
        return packages_distributions()

    def _place(self, path: Path, files: Mapping[str, Path]) -> tuple[str, Origin]:
        """Return the path that a bundle shows, and the origin."""
        owner = self._owner(path)
        if owner is not None:
            folder = next(one for one in self.folders if path.is_relative_to(one))
            return path.relative_to(folder).as_posix(), _installed(owner, files)
        checkout = self.checkout(path if path.is_dir() else path.parent)
        if checkout is None:
            return path.name, Origin()
        place = path.relative_to(checkout.root).as_posix()
        dirty = _has_changed(checkout, path, files)
        return place, Origin(commit=checkout.commit, dirty=dirty)

    def _owner(self, path: Path) -> Distribution | None:
        for folder in self.folders:
            if path.is_relative_to(folder) and path != folder:
                top = path.relative_to(folder).parts[0].partition(".")[0]
                for name in self._packages.get(top, ()):
                    return distribution(name)
        return None

    def checkout(self, folder: Path) -> Checkout | None:
        """Return the checkout that contains a folder, as it was when it was first asked for."""
        if folder not in self._roots:
            self._roots[folder] = git(folder, "rev-parse", "--show-toplevel")
        root = self._roots[folder]
        if root not in self._checkouts:
            self._checkouts[root] = read_checkout(Path(root)) if root else None
        found = self._checkouts[root]
        return found if found and folder.resolve().is_relative_to(found.root) else None


def _has_changed(checkout: Checkout, path: Path, files: Mapping[str, Path]) -> bool:
    there = set(files.values())
    if not checkout.below(path) <= there or not checkout.has_links(path):
        return True
    return not all(checkout.has(one) for one in there)


def _installed(owner: Distribution, files: Mapping[str, Path]) -> Origin:
    record = owner.read_text(RECORD)
    listed = {
        Path(str(one.locate())).resolve()
        for one in _listed(owner)
        if one.hash is not None or one.name in UNHASHED
    }
    unlisted = any(one.resolve() not in listed for one in files.values())
    return Origin(
        dirty=None if record is None else unlisted or not _is_intact(owner),
        distribution=owner.metadata["Name"],
        version=owner.version,
        record=None if record is None else digest_of(record.encode("utf-8")),
    )


def _is_intact(owner: Distribution) -> bool:
    """Return whether every file that the RECORD lists with a digest has that digest."""
    listed = ((Path(str(one.locate())), one.hash) for one in owner.files or ())
    return all(
        path.is_file() and _has_digest(path, digest.mode, digest.value)
        for path, digest in listed
        if digest is not None
    )


def _has_digest(path: Path, algorithm: str, digest: str) -> bool:
    value = hashlib.new(algorithm, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii") == digest


def _read_record(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and digest of each file that a RECORD lists with a digest."""
    lines = text.splitlines()
    for row in csv.reader(lines) if '"' in text else (line.split(",") for line in lines):
        if len(row) > 1 and row[1].partition("=")[0] in hashlib.algorithms_guaranteed:
            yield row[0], row[1]


def _listed(owner: Distribution) -> list[PackagePath]:
    return [one for one in owner.files or () if COMPILED not in one.parts]
