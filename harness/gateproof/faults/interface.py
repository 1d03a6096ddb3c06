"""What every fault offers to the proof that uses it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gateproof_evidence.errors import BadInputError

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy, Tree

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Scope = Literal["database", "server"]
"""What a copy must have of its own: roles and server settings are shared by all databases."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One change to a throw-away copy, under which a claim is false."""

    kind: ClassVar[str]
    """One word: ``sql``, ``settings``, ``source``, ..."""

    name: str
    """A plain slug, unique among the falsifiers of one check."""
    scope: Scope = "database"
    tree: Tree | None = None
    """None where no file is changed."""
    environments: frozenset[str] = frozenset({"embedded", "containers"})
    """Where it can be made."""

    def __post_init__(self) -> None:
        """Refuse what is no slug: names become file names and node ids."""
        if not SLUG.fullmatch(self.name):
            raise BadInputError(
                f"falsifier name: got {self.name!r}, expected a slug of small letters, digits "
                "and dashes"
            )

    def describe(self) -> str:
        """Return what is changed, readable: the statement, the variable and its value."""
        raise NotImplementedError

    def prepare(self, copy: Copy) -> None:
        """Bring in what the fault will act through, before the baseline; most need nothing."""

    def fingerprint(self, copy: Copy) -> str:
        """Look at the object that the fault changes, before and after; names that object."""
        raise NotImplementedError

    def inject(self, copy: Copy) -> None:
        """Make the change.

        Raises:
            HarnessError: it was refused, or did not apply as it must.

        """
        raise NotImplementedError
