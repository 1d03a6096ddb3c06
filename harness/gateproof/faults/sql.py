"""The fault kind `sql`: a change to the database, as the role that owns it or as superuser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateproof.faults.interface import Fault, Scope

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy


@dataclass(frozen=True, kw_only=True)
class SqlFault(Fault):
    """Statements that break a claim, and a query that shows their effect."""

    kind = "sql"

    statement: str
    landing: str
    role: str | None = None

    def describe(self) -> str:
        """Return the statement and its role."""
        return f"as {self.role or 'the migration role'}: {self.statement.strip()}"

    def fingerprint(self, copy: Copy) -> str:
        """Return the rows of the landing query, run as superuser so that no policy hides them."""
        return str(copy.stack.sql.query(self.landing).rows)

    def inject(self, copy: Copy) -> None:
        """Run the statement; it may hold several, separated by semicolons."""
        role = self.role or copy.sut.database.owner
        copy.stack.sql.execute(self.statement, role=None if role == "superuser" else role)


def sql(
    name: str,
    statement: str,
    *,
    landing: str,
    role: str | None = None,
    scope: Scope = "database",
    target: str = "",
) -> SqlFault:
    """Break a claim in the database.

    Args:
        name: a slug.
        statement: one or more SQL statements.
        landing: a query over the changed object; its rows must differ after the statement.
        role: the role that runs the statement: a name, ``superuser``, or None (migration role).
        scope: ``server`` for changes to what all databases of a server share (roles, settings).
        target: the changed object, such as a table, if the object of the finding must name it.

    """
    return SqlFault(
        name=name, statement=statement, landing=landing, role=role, scope=scope, target=target
    )
