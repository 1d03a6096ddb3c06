"""The identity of what a run judged, and of the code that judged it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from gateproof_evidence.model.value import Digest, Value

Part = Literal[
    "system",
    "description",
    "falsifiers",
    "checks",
    "catalogue",
    "harness",
    "evidence",
    "plugin",
    "other code",
]
"""The role of bound files: the system's sources, its ``sut.toml`` and its ``falsifiers.toml``, a
folder of checks with their falsifiers and helpers, a catalogue file, the packages of gateproof, a
distribution that has a plugin of pytest, and any other code or options that the run loaded."""

OF_THE_COMMIT: tuple[Part, ...] = ("system", "description", "falsifiers", "checks", "catalogue")
"""The parts that a commit must contain: what is judged, and by which rules."""

LOADED: tuple[Part, ...] = ("plugin", "other code")
"""The parts that a run loads in addition to what judges it."""


class Bound(Value):
    """One set of files that a verdict depends on: where it is, its content, and its origin."""

    part: Part
    path: str
    """Path from the root of its git repository or from the folder of its distribution; otherwise
    only its name, because a bundle contains no path of a machine."""
    digest: Digest
    """Digest over names and contents: of a folder, see `digest_of_files`; of a single file, of its
    bytes."""
    files: Annotated[int, Field(ge=0)]
    commit: str | None = None
    """The commit that its repository had checked out; None without a repository."""
    dirty: bool | None = None
    """Whether a file differs from the commit or from the record of the distribution, or is missing
    from it; None if there is nothing to compare with."""
    distribution: str | None = None
    """The installed distribution that the files are from; None if they are not installed."""
    version: str | None = None
    record: Digest | None = None
    """Digest of the RECORD file of the distribution."""

    @property
    def title(self) -> str:
        """The part and its path, in one line."""
        return f"{self.part} {self.path}"

    def origin(self, commit: str | None) -> str:
        """Return in words where the files come from; `commit` is that of the system."""
        if self.distribution:
            return f"installed, {self.distribution} {self.version}"
        if self.commit is None:
            return "in no repository"
        return "same commit" if self.commit == commit else f"commit {self.commit}"

    def changes(self) -> str:
        """Return in words whether the files have changed since their commit or installation."""
        if self.dirty is None:
            return "neither a commit nor a record to compare with"
        since = "its installation" if self.distribution else "its commit"
        return f"changes since {since}" if self.dirty else f"no change since {since}"


def loaded(bound: Iterable[Bound]) -> frozenset[tuple[Part, str, Digest]]:
    """Return part, path and digest of the files in `LOADED`."""
    return frozenset((one.part, one.path, one.digest) for one in bound if one.part in LOADED)


class Bindings(Value):
    """The identity of what a run judged, and of the run itself."""

    commit: str | None
    tree: str | None
    dirty: bool | None
    """Whether the repository of the system has uncommitted changes."""
    sut: Digest
    """Digest of the ``sut.toml``."""
    system: Digest | None
    """Digest over the system's files (names and contents)."""
    bound: tuple[Bound, ...] = ()
    """All files that a verdict depends on; empty in bundles before version 0.3.0."""
    versions: dict[str, str]
    images: dict[str, Digest] = {}  # noqa: RUF012 (pydantic copies a default)
    """Name of every container image that the run used, to its digest."""
    nonce: str
    previous: Digest | None = None
    """Digest of the attestation of the bundle before this one."""
    renderer: Digest | None = None
    """Digest of the renderer of report.html: templates, style, source, and their libraries."""

    @property
    def is_clean(self) -> bool:
        """Whether the repository and all bound files are known to be without a change."""
        return self.dirty is False and all(one.dirty is False for one in self.bound)
