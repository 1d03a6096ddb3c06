"""The fault that opens a table of tenants, built from the catalogue when it is injected.

Owns the choice of the table and the record of it; the kinds of changes are in `policy_fault` and
`object_fault`. No fault knows the name of a policy, a column or a role that the description or the
catalogue does not give.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gateproof.base.errors import HarnessError
from gateproof.description.sut import Sut
from gateproof.faults.interface import Fault, Scope, slug_of
from gateproof.faults.tenancy.discovery import Table, table_named, tenant_tables
from gateproof.probes.sql import SqlProbe

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy

Place = Literal["first", "middle", "last"]
PLACES: tuple[Place, ...] = ("first", "middle", "last")
"""The discovered tables that faults use where the description lists none."""

# Everything about a table that a fault may change, and the views and functions of the system.
STATE = """
    SELECT c.relowner::regrole::text, c.relrowsecurity, c.relforcerowsecurity, c.relacl::text,
        (SELECT array_agg(a.attname || a.attacl::text ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL),
        (SELECT array_agg(concat_ws(' ', p.polname, p.polcmd, p.polroles::regrole[],
            pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
            ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid),
        (SELECT array_agg(pg_get_triggerdef(t.oid) ORDER BY t.tgname) FROM pg_trigger t
         WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
        (SELECT array_agg(pg_get_ruledef(r.oid) ORDER BY r.rulename) FROM pg_rewrite r
         WHERE r.ev_class = c.oid)
    FROM pg_class c WHERE c.oid = %(table)s
"""

CREATED = """
    SELECT c.oid::regclass::text, c.relkind::text, c.relacl::text, c.reloptions::text
    FROM pg_class c WHERE c.relname LIKE 'gateproof\\_%%' AND c.relkind IN ('r', 'v', 'm')
    UNION ALL SELECT p.oid::regprocedure::text, p.prosecdef::text, p.proacl::text,
        p.proconfig::text
    FROM pg_proc p WHERE p.proname LIKE 'gateproof\\_%%' ORDER BY 1
"""
"""The landing of faults that create objects: these begin with `gateproof_`."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The table that a kind of change works on, and the means to read the catalogue."""

    sql: SqlProbe
    sut: Sut
    table: Table


@dataclass(frozen=True, kw_only=True)
class Change:
    """The statements of a change, and the query that shows their effect."""

    statement: str
    landing: str = STATE


Build = Callable[[Target], Change]


TABLE = "{table}"
"""Stands for the name of the table, which may be known only when the fault is injected."""

SCHEMA = "{schema}"
"""Stands for the schema of the table with its dot, as names of objects have it: empty for
`public`."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of change under a plain name."""

    name: str
    build: Build = field(repr=False, compare=False)  # the text of a fault is a part of digests
    scope: Scope = "database"
    target: str = TABLE
    """The object that a finding must name; empty for a change of roles, which is none of one
    table."""


class _Resolved:
    """The table and the change in the copy of the last proof; never a part of the fault's text."""

    def __init__(self) -> None:
        self.copy: Copy | None = None
        self.target: Target | None = None
        self.change: Change | None = None

    def __repr__(self) -> str:
        return "resolved in the copy"


@dataclass(frozen=True, kw_only=True)
class TableFault(Fault):
    """A change of one kind to one table, or to what else shows its rows."""

    kind = "sql"

    change: Kind
    table: str
    """The name of the table in the description, or its place among the discovered tables."""
    discovered: bool
    _resolved: _Resolved = field(default_factory=_Resolved, compare=False)

    def describe(self) -> str:
        """Return the statement once it is known, and before that the kind and the table."""
        target, change = self._resolved.target, self._resolved.change
        if target is None or change is None:
            return f"{self.change.name} on {self._place()}"
        found = f" ({self._place()})" if self.discovered else ""
        return f"{self.change.name} on {target.table.name}{found}, as superuser: {change.statement}"

    def complete(self, expect: str) -> str:
        """Return a prediction with the name of the table and its schema filled in."""
        target = self._resolved.target
        name, schema = self.table, ""
        if target is not None:
            name = target.table.name
            schema = "" if name != target.table.sql else f"{schema_of(target.table)}."
        return expect.replace(TABLE, name).replace(SCHEMA, schema)

    def fingerprint(self, copy: Copy) -> str:
        """Return the table's name and state, read as superuser."""
        target, change = self._resolve(copy)
        rows = copy.stack.sql.query(change.landing, {"table": target.table.oid}).rows
        return f"{target.table.name}: {rows}"

    def inject(self, copy: Copy) -> None:
        """Run the statements as superuser."""
        _, change = self._resolve(copy)
        copy.stack.sql.execute(change.statement)

    def _place(self) -> str:
        return f"the {self.table} discovered table" if self.discovered else self.table

    def _resolve(self, copy: Copy) -> tuple[Target, Change]:
        resolved = self._resolved
        if resolved.copy is not copy or resolved.target is None or resolved.change is None:
            sql = copy.stack.sql
            resolved.target = Target(sql=sql, sut=copy.sut, table=self._find(copy))
            resolved.change = self.change.build(resolved.target)
            resolved.copy = copy
        return resolved.target, resolved.change

    def _find(self, copy: Copy) -> Table:
        sql = copy.stack.sql
        if not self.discovered:
            named = table_named(sql, copy.sut, self.table)
            if named is None:
                raise HarnessError(f"falsifier {self.name}: table: got no {self.table}")
            return named
        found = [one for one in tenant_tables(sql, copy.sut) if not one.partition]
        if not found:
            raise HarnessError(f"falsifier {self.name}: tables of tenants: got none, expected one")
        place = {"first": 0, "middle": len(found) // 2, "last": len(found) - 1}[self.table]
        return found[place]


def schema_of(table: Table) -> str:
    """Return the schema of a table as SQL."""
    found = re.match(r'("(?:[^"]|"")*"|[^."]+)\.', table.sql)
    return found[1] if found else "public"


def table_fault(kind: Kind, table: str, *, discovered: bool = False) -> TableFault:
    """Return the fault of one kind on one table.

    Args:
        kind: the kind of change.
        table: the name of the table in the description, or its place among discovered tables.
        discovered: whether `table` is a place.

    """
    return TableFault(
        name=slug_of(kind.name, table),
        scope=kind.scope,
        change=kind,
        table=table,
        discovered=discovered,
        target=kind.target,
    )
