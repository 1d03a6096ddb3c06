"""Gate rls: a tenant writes its own rows only.

The SELECT policies also apply to statements that read a column, as in WHERE or RETURNING, and would
hide a defect in the other policies. So the attacks on whole tables set constants and use neither.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateproof import (
    Ids,
    Refused,
    RowMaker,
    Rows,
    Session,
    Stack,
    Sut,
    Table,
    Tenant,
    act_as,
    claim,
    criterion,
    identifier,
    literal,
)

from .tenants import a_and_b, bound_tables, falsified_on_tables, outcome, see_rows, tables_of

REFUSED = "^42501 "
"""A refusal with the SQLSTATE insufficient_privilege: by a policy or for a missing privilege."""

REFUSED_BY_POLICY = "^42501 .*row-level security"
"""The text that only the refusal of a policy has, not that of a missing privilege."""

NONE_OR_REFUSED = "^(0 rows$|42501 )"

NOT_NULL = "23502"

# For DELETE there are no columns, and an empty name stands for the whole table.
PRIVILEGES = """
    SELECT c.oid, privilege, coalesce(a.attname, '')
    FROM pg_class c CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) AS privilege
        LEFT JOIN pg_attribute a ON privilege <> 'DELETE' AND a.attrelid = c.oid
            AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.oid = ANY(%(tables)s)
        AND CASE WHEN privilege = 'DELETE' THEN has_table_privilege(c.oid, privilege)
            ELSE has_column_privilege(c.oid, a.attnum, privilege) END
"""

INSERTS = "insert of a row of B"
TAKES_OVER = "upsert with the primary key of a row of B"
REACHES = "change of a row of B by its primary key"
OVERWRITES = "UPDATE without WHERE"
MOVES = "move of own rows to B"
MOVES_AWAY = "move of own rows to no tenant"
TRUNCATES = "TRUNCATE"
DELETES = "DELETE without WHERE"
LEFT = "rows of B afterwards"


Contents = list[dict[str, Any]]
"""Rows of a tenant in one table: where each is, the time of its last change, and its values."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The tenant B, whose rows are attacked, in one table."""

    tenant: Tenant
    rows: Contents
    """Its rows before the attack."""
    more: str
    """A row that could be inserted for it, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The tenants A and B, and the superuser's means to give them rows."""

    sut: Sut
    superuser: Session
    maker: RowMaker
    a: Tenant
    b: Tenant
    samples: dict[tuple[int, str], str] = field(default_factory=dict)

    def fill(self, table: Table) -> Contents:
        """Give a table the rows of the tenants and no others, and return those of B.

        No foreign key applies to the session.
        """
        self.superuser.query(f"DELETE FROM {table.sql}")
        for tenant in (self.a, self.b):
            self.maker.insert(table, tenant.id, tenant.rows_in(table))
        self.superuser.commit()
        see_rows(self.superuser, self.sut, [table], (self.a, self.b))
        return self.contents(table)

    def contents(self, table: Table) -> Contents:
        """Return B's rows in a table, read as superuser."""
        found = self.superuser.query(
            f"SELECT ctid::text AS place, xmin::text AS changed, to_jsonb(t) AS content"
            f" FROM {table.sql} AS t WHERE {identifier(self.sut.tenancy.key)}::text = %s"
            " ORDER BY 1",
            (self.b.id,),
        )
        self.superuser.rollback()
        return found.dicts()

    def sample(self, table: Table, tenant: Tenant) -> str:
        """Return a row that could be inserted for a tenant, as JSON; it is made once."""
        which = (table.oid, tenant.name)
        if which not in self.samples:
            self.samples[which] = self.maker.sample(table, tenant.id)
        return self.samples[which]


@criterion("RLS-05", needs=("database", "tenancy"))
@falsified_on_tables(
    {
        "write-open": (INSERTS, "{role}/{table}/A", "got 1 rows"),
        "tenant-follows-the-row": (INSERTS, "{role}/{table}/A", "got 1 rows"),
        # By any role that may insert: the first one need not write to every table.
        "disable-row-security": (INSERTS, "*/{table}/A"),
        "open-update": (OVERWRITES, "{role}/{table}/A"),
        "move-open": (MOVES, "{role}/{table}/A"),
        # With the privilege, PostgreSQL still refuses a table that a foreign key references.
        "grant-truncate": (TRUNCATES, "{role}/{table}/A"),
        "open-delete": (DELETES, "{role}/{table}/A"),
        "purging-trigger": (LEFT, "{role}/{table}/A", '"rows": 0'),
    },
    of_a_kind=1,  # the check attacks every table in each proof, which takes time
)
def test_a_tenant_writes_its_own_rows_only(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A tenant cannot insert, change or delete rows of another tenant, nor move its own rows."""
    bound = bound_tables(own_stack.sql, sut)
    tables = tables_of(bound)
    a, b = a_and_b(ids, tables)
    with own_stack.sql.session() as superuser:
        maker = RowMaker(superuser, sut, tables)
        scene = Scene(sut=sut, superuser=superuser, maker=maker, a=a, b=b)
        for role, own in bound.items():
            with own_stack.sql.session(role) as session:
                _judge_attacks(session, scene, role, own)


def _judge_attacks(session: Session, scene: Scene, role: str, tables: Sequence[Table]) -> None:
    """Attack B's rows as A in one table after another, and compare them before and after.

    Only one table at a time has rows of A: a row that one of another table references could not be
    deleted. The comparison is before the next table gets rows, which can be a part of this one.
    """
    privileges = _privileges(session, tables)
    session.commit()
    for table in tables:
        old = scene.fill(table)
        rival = Rival(tenant=scene.b, rows=old, more=scene.sample(table, scene.b))
        act_as(session, scene.sut, scene.a.id)
        _Attack(session, scene, role, table, rival, privileges[table.oid]).run()
        session.commit()
        new = scene.contents(table)
        claim(
            LEFT,
            on=f"{role}/{table.name}/A",
            got={"rows": len(new), "changed or new": sum(row not in old for row in new)},
            expected={"rows": len(old), "changed or new": 0},
        )


def _privileges(session: Session, tables: Sequence[Table]) -> dict[int, set[tuple[str, str]]]:
    """Map the object ids of tables to the privileges of the session, each with its column."""
    found: dict[int, set[tuple[str, str]]] = {table.oid: set() for table in tables}
    for oid, privilege, column in session.query(PRIVILEGES, {"tables": list(found)}).rows:
        found[oid].add((privilege, column))
    return found


class _Attack:
    """All attacks of tenant A on tenant B's rows of one table, in one transaction."""

    def __init__(
        self,
        session: Session,
        scene: Scene,
        role: str,
        table: Table,
        rival: Rival,
        privileges: set[tuple[str, str]],
    ) -> None:
        self.session, self.table, self.a = session, table, scene.a
        self.shape, self.own = scene.maker.shape(table), scene.sample(table, scene.a)
        self.rival, self.on = rival, f"{role}/{table.name}/A"
        self.key, self.privileges = scene.sut.tenancy.key, privileges

    def run(self) -> None:
        """Run each attack under its own savepoint."""
        self._insert()
        self._take_over()
        self._reach_by_primary_key()
        self._overwrite_all()
        self._move()
        self._truncate()
        self._delete_all()

    def _insert(self) -> None:
        seen = self._insert_row(self.rival.more)
        self._judge_refused(INSERTS, seen, by_policy=self._may_insert())

    def _take_over(self) -> None:
        """Upsert with the key of B's row, which must not change that row."""
        primary = self.shape.primary_key
        free = primary and self.key not in primary and set(primary) <= set(self.shape.insertable)
        if not free or not self._may_insert() or not self._may("UPDATE", self.key):
            return
        victim = {name: self.rival.rows[0]["content"][name] for name in primary}
        key = identifier(self.key)
        seen = self._insert_row(
            json.dumps({**json.loads(self.own), **victim}),
            f" ON CONFLICT ({_names(primary)}) DO UPDATE SET {key} = excluded.{key}",
        )
        self._judge_refused(TAKES_OVER, seen, by_policy=True)

    def _insert_row(self, row: str, more: str = "") -> Rows | Refused:
        names = _names(self.shape.insertable)
        return self.session.attempt(
            f"INSERT INTO {self.table.sql} ({names}) SELECT {names}"
            f" FROM jsonb_populate_record(NULL::{self.table.sql}, %s::jsonb){more}",
            (row,),
        )

    def _reach_by_primary_key(self) -> None:
        victim = self.rival.rows[0]
        where = f"ctid = {literal(victim['place'])}"
        if self.shape.primary_key:
            record = f"jsonb_populate_record(NULL::{self.table.sql}, %(row)s::jsonb)"
            names = _names(self.shape.primary_key)
            where = f"({names}) = (SELECT {names} FROM {record})"
        parameters = {"row": json.dumps(victim["content"])}
        for statement in (f"UPDATE {self.table.sql} SET {self._constant()}", self._delete()):
            seen = self.session.attempt(f"{statement} WHERE {where}", parameters)
            claim(
                REACHES,
                on=self.on,
                got=outcome(seen),
                relation="matches",
                expected=NONE_OR_REFUSED,
            )

    def _overwrite_all(self) -> None:
        seen = self.session.attempt(f"UPDATE {self.table.sql} SET {self._constant()}")
        self._judge_own_rows_only(OVERWRITES, seen, allowed=bool(self._updatable()))

    def _move(self) -> None:
        allowed = self._may("UPDATE", self.key)
        key = identifier(self.key)
        for what, tenant in ((MOVES, self.rival.tenant.id), (MOVES_AWAY, None)):
            seen = self.session.attempt(f"UPDATE {self.table.sql} SET {key} = %s", (tenant,))
            if tenant is None and isinstance(seen, Refused) and seen.sqlstate == NOT_NULL:
                continue  # the column is NOT NULL, which is enforced before any policy
            self._judge_refused(what, seen, by_policy=allowed)

    def _truncate(self) -> None:
        """Truncate the table: no policy applies to this, so only a missing privilege refuses it."""
        seen = self.session.attempt(f"TRUNCATE {self.table.sql}")
        self._judge_refused(TRUNCATES, seen, by_policy=False)

    def _delete_all(self) -> None:
        seen = self.session.attempt(self._delete())
        self._judge_own_rows_only(DELETES, seen, allowed=self._may("DELETE", ""))

    def _delete(self) -> str:
        return f"DELETE FROM {self.table.sql}"

    def _constant(self) -> str:
        """Return the assignment of a constant, which reads no column: the own key if possible."""
        updatable = self._updatable()
        if self.key in updatable or not updatable:
            return f"{identifier(self.key)} = {literal(self.a.id)}"
        value = json.loads(self.own)[updatable[0]]
        text = (
            "NULL"
            if value is None
            else literal(value if isinstance(value, str) else json.dumps(value))
        )
        return f"{identifier(updatable[0])} = {text}"

    def _updatable(self) -> list[str]:
        """Return the columns that the role may update, first those that no unique index has."""
        unique = {name for columns in self.shape.unique.values() for name in columns}
        names = [name for name in self.shape.insertable if self._may("UPDATE", name)]
        return sorted(names, key=lambda name: name in unique)

    def _judge_own_rows_only(self, what: str, seen: Rows | Refused, *, allowed: bool) -> None:
        """Judge that a role with the privilege changes exactly its tenant's rows."""
        if not allowed:
            claim(what, on=self.on, got=outcome(seen), relation="matches", expected=REFUSED)
            return
        own = f"{self.a.rows_in(self.table)} rows"
        claim(what, on=self.on, got=outcome(seen), expected=own)

    def _judge_refused(self, what: str, seen: Rows | Refused, *, by_policy: bool) -> None:
        refused = REFUSED_BY_POLICY if by_policy else REFUSED
        claim(what, on=self.on, got=outcome(seen), relation="matches", expected=refused)

    def _may(self, privilege: str, column: str) -> bool:
        return (privilege, column) in self.privileges

    def _may_insert(self) -> bool:
        return all(self._may("INSERT", name) for name in self.shape.insertable)


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(identifier, columns))
