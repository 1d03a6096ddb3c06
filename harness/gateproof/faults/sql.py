"""The fault kind `sql`: a change to the database, as the role that owns it or as superuser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateproof.faults.interface import Fault, Scope

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy


@dataclass(frozen=True, kw_only=True)
class SqlFault(Fault):
    """Statements that break a claim, and the query that sees that they landed."""

    kind = "sql"

    statement: str
    landing: str
    role: str | None = None

    def describe(self) -> str:
        """Return the statement and who runs it."""
        return f"as {self.role or 'the migration role'}: {self.statement.strip()}"

    def fingerprint(self, copy: Copy) -> str:
        """Return what the landing query says, as superuser, so that no policy hides it."""
        return str(copy.stack.sql.query(self.landing).rows)

    def inject(self, copy: Copy) -> None:
        """Run the statement; it may hold several, separated by semicolons."""
        role = self.role or copy.sut.roles.migration
        copy.stack.sql.execute(self.statement, role=None if role == "superuser" else role)


def sql(
    name: str,
    statement: str,
    *,
    landing: str,
    role: str | None = None,
    scope: Scope = "database",
) -> SqlFault:
    """Break a claim in the database.

    Args:
        name: a plain slug.
        statement: one or more SQL statements.
        landing: a query over the very object that changes; its rows must differ afterwards.
        role: who runs the statement: None for the migration role, ``superuser``, or a role name.
        scope: ``server`` for what all databases of a server share (roles, settings).

    """
    return SqlFault(name=name, statement=statement, landing=landing, role=role, scope=scope)
