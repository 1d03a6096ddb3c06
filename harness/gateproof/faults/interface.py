"""The interface between a fault and the proof that uses it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.tree import device_name

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy, Tree

LONGEST_NAME = 80
"""The most characters of a falsifier's name, which is part of node ids and of file names."""

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Scope = Literal["database", "server"]
"""The part that the copy must have alone: databases of a server share roles and settings."""


def slug_of(*parts: str, distinct: bool = False) -> str:
    """Return the name of a generated falsifier: a slug of the parts, such as kind and table.

    Args:
        *parts: texts of any characters.
        distinct: whether another falsifier has the same slug; then a digest of the parts ends it,
            as it ends a slug that had to be cut.

    """
    plain = unicodedata.normalize("NFKD", "-".join(parts)).encode("ascii", "ignore").decode()
    slug = "-".join(re.findall(r"[a-z0-9]+", plain.lower()))
    lost = re.search(r"[^\x00-\x7f]", "".join(parts)) is not None
    if slug and len(slug) <= LONGEST_NAME and not distinct and not lost:
        return slug
    digest = hashlib.sha256("\0".join(parts).encode("utf-8")).hexdigest()[:8]
    cut = slug[: LONGEST_NAME - len(digest) - 1].rstrip("-")
    return f"{cut}-{digest}" if cut else digest


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One change to a throw-away copy, under which a claim is false."""

    kind: ClassVar[str]
    """One word: ``sql``, ``settings``, ``source``, ..."""
    restarts: ClassVar[bool] = False
    """Whether its injection stops the processes of the copy, so that they start with the fault."""
    cold: ClassVar[bool] = False
    """Whether processes start cold after its injection, see `StackContext.launcher`."""
    relayed: ClassVar[bool] = False
    """Whether a relay stands between the processes and their server."""

    passage: ClassVar[str] = ""
    """The passage between check and system that is there before the fault too, in words; each has
    a baseline of its own."""

    name: str
    """A slug, unique among the falsifiers of one check."""
    scope: Scope = "database"
    tree: Tree | None = None
    """The files that the copy needs; None if no file is changed."""
    environments: frozenset[str] = frozenset({"embedded", "containers"})
    """The environments in which it can be injected."""
    target: str = ""
    """The object that it changes, such as a table, if a finding must name it; a proof is void when
    the object of the predicted finding does not have it as one of its parts."""

    def __post_init__(self) -> None:
        """Refuse a name that is not a slug: names become file names and node ids."""
        if not SLUG.fullmatch(self.name):
            raise BadInputError(
                f"falsifier name: got {self.name!r}, expected a slug of a-z, 0-9 and single dashes"
            )
        if len(self.name) > LONGEST_NAME:
            raise BadInputError(
                f"falsifier name: got {len(self.name)} characters ({self.name[:20]}...), expected "
                f"at most {LONGEST_NAME}; it is part of a file's name, so choose a shorter one"
            )
        if device_name(self.name):
            raise BadInputError(
                f"falsifier name: got {self.name}, expected no name of a device of Windows; it is "
                "part of a file's name, so choose another"
            )

    def describe(self) -> str:
        """Return a readable description of the change, such as the statement."""
        raise NotImplementedError

    def complete(self, expect: str) -> str:
        """Return a predicted text with what is known since the injection; usually as it is."""
        return expect

    def prepare(self, copy: Copy) -> None:
        """Set up what the fault needs, before the baseline run; most faults need nothing."""

    @property
    def rebuilds(self) -> bool:
        """Whether the injection builds the database again."""
        return False

    def change_inertly(self, copy: Copy) -> str:
        """Make a change that does not matter, in the way in which the fault makes its own.

        The check must pass after it: otherwise it would also fail after a fault that its claim has
        nothing to do with.

        Returns:
            The change in words; empty if the copy has nothing to change.

        Raises:
            HarnessError: the change was refused.

        """
        return copy.comment_on_database() if copy.needs_stack else ""

    def fingerprint(self, copy: Copy) -> str:
        """Return the name and state of the changed object; it must differ after the injection."""
        raise NotImplementedError

    def inject(self, copy: Copy) -> None:
        """Make the change.

        Raises:
            HarnessError: the change was refused or does not apply.

        """
        raise NotImplementedError
