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
    in_new: bool = False
    """Whether it changes the databases that the check creates, instead of the copy's own."""

    def describe(self) -> str:
        """Return the statement and its role."""
        where = "in each new database, " if self.in_new else ""
        return f"{where}as {self.role or 'the migration role'}: {self.statement.strip()}"

    def fingerprint(self, copy: Copy) -> str:
        """Return the rows of the landing query, run as superuser so that no policy hides them."""
        probe = copy.stack.sql
        if self.in_new:
            probe = copy.stack.sql_on(copy.stack.empty_database())
        return str(probe.query(self.landing).rows)

    def inject(self, copy: Copy) -> None:
        """Run the statement; it may hold several, separated by semicolons."""
        role = self.role or copy.sut.database.owner
        own = None if role == "superuser" else role
        if self.in_new:
            copy.stack.change_new_databases(self.statement, role=own)
        else:
            copy.stack.sql.execute(self.statement, role=own)


def sql(
    name: str,
    statement: str,
    *,
    landing: str,
    role: str | None = None,
    scope: Scope = "database",
    target: str = "",
    in_new: bool = False,
) -> SqlFault:
    """Break a claim in the database.

    Args:
        name: a slug.
        statement: one or more SQL statements.
        landing: a query over the changed object; its rows must differ after the statement.
        role: the role that runs the statement: a name, ``superuser``, or None (migration role).
        scope: ``server`` for changes to what all databases of a server share (roles, settings).
        target: the changed object, such as a table, if the object of the finding must name it.
        in_new: whether the statement runs in each database that the check creates and migrates
            itself, before it migrates it, instead of in the copy's own.

    """
    return SqlFault(
        name=name,
        statement=statement,
        landing=landing,
        role=role,
        scope=scope,
        target=target,
        in_new=in_new,
    )
