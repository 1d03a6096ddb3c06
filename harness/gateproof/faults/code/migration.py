"""The fault kind `migration`: a changed revision in a copy of the system.

For a claim about the result of the migrations, the copy's database is built again with the changed
revision. For a claim about running them, the check runs them itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateproof.faults.code.source import add_empty_line, change_file, one_change
from gateproof.faults.code.text import Change
from gateproof.faults.interface import Fault

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy


@dataclass(frozen=True, kw_only=True)
class MigrationFault(Fault):
    """A change to one file of the migrations."""

    kind = "migration"
    restarts = True

    file: str
    change: Change
    landing: str = ""

    def describe(self) -> str:
        """Return the revision and the change."""
        return f"in {self.file}: {self.change.describe()}"

    @property
    def rebuilds(self) -> bool:
        """Whether the injection builds the database again."""
        return bool(self.landing)

    def change_inertly(self, copy: Copy) -> str:
        """Add an empty line to the revision; with a landing query, rebuild the copy's database."""
        change = add_empty_line(copy.sut.folder / self.file)
        if self.landing:
            copy.stack.rebuild()
        return f"in {self.file}: {change}"

    def fingerprint(self, copy: Copy) -> str:
        """Return the rows of the landing query or, without one, the digest of the revision."""
        if self.landing:
            return str(copy.stack.sql.query(self.landing).rows)
        content = (copy.sut.folder / self.file).read_bytes()
        return f"{self.file} sha256:{hashlib.sha256(content).hexdigest()}"

    def inject(self, copy: Copy) -> None:
        """Change the revision; with a landing query, rebuild the copy's database."""
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
        name: a slug.
        file: path of the revision relative to the system's folder, with forward slashes.
        before: a text that occurs exactly once in the file ...
        after: ... and its replacement.
        function: ``upgrade`` or ``downgrade`` instead ...
        body: ... and its new body.
        landing: a query over the result of the migrations, whose rows must differ after the
            rebuild; empty for checks that run the migrations themselves.

    Raises:
        BadInputError: not exactly one of the two changes is given, or it would change nothing.

    """
    return MigrationFault(
        name=name,
        file=file,
        change=one_change(name, before, after, function=function, body=body),
        landing=landing,
        tree="system",
    )
