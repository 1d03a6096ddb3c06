"""Load the contract of a domain: its bundled document and its released versions.

Owns versions and where baselines are. Leaves judging to the rules.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from system.contracts.reading.bundle import BrokenReference, bundle
from system.contracts.reading.document import BASELINE, BASELINES, DIGESTS, Json, Library
from system.contracts.reading.operation import Operation, operations
from system.errors import ContractError

IMPLEMENTED = "x-implemented"
"""The key of a document that says whether the service serves its operations."""

_VERSION = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")
_DIGEST = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True, kw_only=True, order=True)
class Version:
    """A version ``MAJOR.MINOR.PATCH``, ordered by its numbers."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: object) -> Version | None:
        """Return the version that a text spells; None for any other text."""
        match = _VERSION.fullmatch(text) if isinstance(text, str) else None
        return cls(major=int(match[1]), minor=int(match[2]), patch=int(match[3])) if match else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The contract of one domain."""

    domain: str
    document: Json
    """The document with the parts of other files that it refers to."""
    broken: tuple[BrokenReference, ...]

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The operations in the order of the document."""
        return tuple(operations(self.document))

    @property
    def version(self) -> Version | None:
        """The version of the document; None if it is not ``MAJOR.MINOR.PATCH``."""
        return Version.parse(self.document.get("info", {}).get("version"))


def load(library: Library, domain: str) -> Contract:
    """Return the contract of a domain.

    Raises:
        ContractError: a file cannot be read, or has no document.

    """
    found = bundle(library, domain)
    return Contract(domain=domain, document=found.document, broken=found.broken)


def baseline_name(domain: str, version: Version) -> str:
    """Return the path of a released version, relative to the folder of contracts."""
    return f"{domain}/{BASELINES}/v{version}/{BASELINE}"


def released(library: Library, domain: str) -> dict[str, Json]:
    """Return the released documents of a domain by the names of their folders.

    Raises:
        ContractError: one cannot be read.

    """
    folders = sorted((library.root / domain / BASELINES).glob("*"))
    return {
        folder.name: library.read(f"{domain}/{BASELINES}/{folder.name}/{BASELINE}")
        for folder in folders
    }


def recorded_digests(root: Path) -> dict[str, str]:
    """Return the SHA-256 digests of the released versions, by their paths; empty lines are nothing.

    Raises:
        ContractError: the file of digests has another form than that of ``sha256sum``.

    """
    path = root / DIGESTS
    if not path.is_file():
        return {}
    lines = [line for line in path.read_bytes().decode().splitlines() if line]
    matches = [_DIGEST.fullmatch(line) for line in lines]
    if None in matches:
        line = lines[matches.index(None)]
        raise ContractError(f"{DIGESTS}: got {line!r}, expected a line of sha256sum")
    return {match[2]: match[1] for match in matches if match}


def digests(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and the SHA-256 digest of each released version, sorted."""
    for path in sorted(root.rglob(f"{BASELINES}/*/{BASELINE}")):
        yield path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()
