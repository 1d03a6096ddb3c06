"""The fault kind `migration`: a changed revision in a copy of the system.

Where the claim is about what the migrations leave, the copy's database is made anew by the changed
ones; where it is about running them, the check does that itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateproof.faults.interface import Fault
from gateproof.faults.source import change_file, one_change
from gateproof.faults.text import Change

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy


@dataclass(frozen=True, kw_only=True)
class MigrationFault(Fault):
    """A change to one file of the migrations."""

    kind = "migration"

    file: str
    change: Change
    landing: str = ""

    def describe(self) -> str:
        """Return the revision and the change."""
        return f"in {self.file}: {self.change.describe()}"

    def fingerprint(self, copy: Copy) -> str:
        """Return what the landing query says of the database, or else the revision's digest."""
        if self.landing:
            return str(copy.stack.sql.query(self.landing).rows)
        content = (copy.sut.folder / self.file).read_bytes()
        return f"{self.file} sha256:{hashlib.sha256(content).hexdigest()}"

    def inject(self, copy: Copy) -> None:
        """Change the revision, and migrate the copy's database anew where that is asked for."""
        change_file(copy.sut.folder / self.file, self.change)
        if self.landing:
            copy.stack.rebuild()


def migration(
    name: str,
    file: str,
    before: str = "",
    after: str = "",
    *,
    function: str = "",
    body: str = "",
    landing: str = "",
) -> MigrationFault:
    """Break a claim in a revision.

    Args:
        name: a plain slug.
        file: of the revision, relative to the system's folder, with forward slashes.
        before: a text that stands in the file exactly once ...
        after: ... and what replaces it.
        function: ``upgrade`` or ``downgrade`` instead ...
        body: ... and its new body.
        landing: a query over what the migrations make, whose rows must differ when the database is
            made anew; empty for checks that run the migrations themselves.

    Raises:
        BadInputError: not exactly one of the two ways, or it would change nothing.

    """
    return MigrationFault(
        name=name,
        file=file,
        change=one_change(name, before, after, function=function, body=body),
        landing=landing,
        tree="system",
    )
