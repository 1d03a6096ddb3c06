"""Two tenants with rows of their own, and the tables in which each role sees only these.

Owns the seed of this gate. It is written as superuser, so that no policy applies to it, and read
back as superuser, so that every check starts from rows that really exist. Rows and tables come from
the catalogue of the database and from the description: this gate knows no table of any system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateproof import (
    Fault,
    Ids,
    Pick,
    Refused,
    RowMaker,
    Rows,
    Session,
    SqlProbe,
    Sut,
    Table,
    Tenant,
    at_least_one,
    falsified_by_each,
    identifier,
    new_tenant,
    premise,
    spread,
    tenant_fault,
    tenant_tables,
)

A_ROWS, B_ROWS = 3, 2

READABLE = """
    SELECT c.oid FROM pg_class c
    WHERE c.oid = ANY(%(tables)s) AND has_schema_privilege(%(role)s, c.relnamespace, 'USAGE')
        AND has_table_privilege(%(role)s, c.oid, 'SELECT')
"""


def bound_tables(sql: SqlProbe, sut: Sut) -> Mapping[str, tuple[Table, ...]]:
    """Map each role to the tables in which it sees only its tenant's rows; the worker's has some.

    Policies bind the worker's role on every table. They bind the operators' roles on the domain's
    tables only, because these roles read all dead-letter rows by contract. Of discovered tables, a
    role is bound on those that it may read; of listed ones, it must be able to read each.
    """
    found = tenant_tables(sql, sut)
    tables = at_least_one(f"{sut.path.name}: tenancy.tables", found)
    domain = tuple(table for table in tables if not _is_dead_letters(sut, table.name))
    wide = _readers_of_dead_letters(sut)
    bound = {role: domain if role in wide else tables for role in sut.application_roles}
    at_least_one("application roles", bound)
    if not sut.tenancy.discovers:
        return bound
    return {role: _readable(sql, role, own) for role, own in bound.items()}


def _readers_of_dead_letters(sut: Sut) -> set[str]:
    """Return the roles that read the dead-letter rows of all tenants by contract."""
    keys = ("dead_letters.operator", "dead_letters.reader")
    return {str(sut.value_of(key)) for key in keys if sut.describes(key)}


def _is_dead_letters(sut: Sut, table: str) -> bool:
    return sut.describes("dead_letters.table") and table == sut.dead_letters.table


def _readable(sql: SqlProbe, role: str, tables: Sequence[Table]) -> tuple[Table, ...]:
    parameters = {"role": role, "tables": [table.oid for table in tables]}
    readable = sql.query(READABLE, parameters).column()
    return tuple(table for table in tables if table.oid in readable)


def domain_tables(sut: Sut) -> tuple[str, ...]:
    """Return the listed tables on which policies bind the operators' roles too."""
    return tuple(table for table in sut.tenancy.listed if not _is_dead_letters(sut, table))


def falsified_on_tables(
    predictions: Mapping[str, str], *, every_table: bool = False, domain: bool = False
) -> pytest.MarkDecorator:
    """Declare falsifiers on the tables of tenants, made from the description.

    Args:
        predictions: kinds of faults, with the part of the message that each must cause. In it,
            ``{table}`` is the table, and ``{role}``, ``{second}`` and ``{last}`` are roles.
        every_table: whether each table gets at least one of them.
        domain: whether only tables are used on which policies bind the operators' roles too; then
            there must be a list of tables.

    """

    def picks(sut: Sut) -> list[Pick]:
        if domain and not domain_tables(sut):
            return []
        tables = domain_tables(sut) if domain else None
        return spread(sut, predictions, every_table=every_table, tables=tables)

    def make(sut: Sut, pick: Pick) -> tuple[Fault, str]:
        return tenant_fault(pick), with_roles(sut, predictions[pick.kind])

    return falsified_by_each(picks, make)


def with_roles(sut: Sut, text: str) -> str:
    """Return a text with the names of roles filled in."""
    for name, role in sut.role_names.items():
        text = text.replace(f"{{{name}}}", role)
    return text


def judge(what: str, *, on: str, got: Any, expected: Any, holds: bool | None = None) -> None:
    """Assert a finding about one object.

    Args:
        what: the claim in words.
        on: the object, such as role, table and tenant, separated by slashes.
        got: the observed value.
        expected: the value that makes the claim true.
        holds: whether it is true, where that is more than equality.

    """
    ok = got == expected if holds is None else holds
    assert ok, f"{what}: {on}: got {got}, expected {expected}"


def two_tenants(
    sql: SqlProbe, sut: Sut, ids: Ids, *, tables: Sequence[Table], without: bool = False
) -> list[Tenant]:
    """Insert three rows of a new tenant A and two of a new tenant B, and see that they exist.

    Args:
        sql: the probe of the stack.
        sut: the description.
        ids: makes the tenants.
        tables: the tables that get rows.
        without: whether tables that can hold a row without a tenant get one.

    """
    at_least_one("tables with rows of tenants", tables)
    tenants = a_and_b(ids, tables)
    with sql.session() as session:
        maker = RowMaker(session, sut, tables)
        for table in tables:
            for tenant in tenants:
                maker.insert(table, tenant.id, tenant.rows_in(table))
            if without:
                maker.insert_without_tenant(table)
        session.commit()
        for table in tables:
            see_rows(session, sut, table, tenants)
    return tenants


def a_and_b(ids: Ids, tables: Sequence[Table]) -> list[Tenant]:
    """Return the tenants A and B, which have no rows yet."""
    return [
        new_tenant(ids, tables, name="A", rows=A_ROWS),
        new_tenant(ids, tables, name="B", rows=B_ROWS),
    ]


def see_rows(session: Session, sut: Sut, table: Table, tenants: Sequence[Tenant]) -> None:
    """Continue only if the superuser sees the rows of the tenants.

    A row of a partitioned table is one of its partition as well, so there can be more of them.
    """
    seen = rows_by_tenant(session.query(count_by_tenant(sut, table)))
    few = [one.name for one in tenants if seen.get(one.id, 0) < one.rows_in(table)]
    premise(
        "tenants with too few rows that the superuser sees", on=table.name, got=few, expected=[]
    )


def seen_as_superuser(
    sql: SqlProbe, sut: Sut, tables: Sequence[Table]
) -> dict[int, dict[Any, int]]:
    """Return the number of rows of each tenant by the object id of the table."""
    with sql.session() as session:
        return {one.oid: visible(session, sut, one) for one in tables}


def empty(sql: SqlProbe, tables: Sequence[Table]) -> None:
    """Remove all rows of tables, and of tables with a foreign key to one of them, as superuser.

    Without CASCADE, PostgreSQL refuses to truncate a table that another one references.
    """
    names = [table.sql for table in at_least_one("tables to empty", tables)]
    sql.query(f"TRUNCATE {', '.join(names)} CASCADE")


def count_by_tenant(sut: Sut, table: Table) -> str:
    """Return the query that counts a table's visible rows by tenant."""
    return f"SELECT {identifier(sut.tenancy.key)}::text, count(*) FROM {table.sql} GROUP BY 1"


def rows_by_tenant(seen: Rows) -> dict[str | None, int]:
    """Return the result of `count_by_tenant` as a mapping."""
    return {row[0]: row[1] for row in seen.rows}


def visible(session: Session, sut: Sut, table: Table) -> dict[str | None, int]:
    """Return the number of rows that a session sees in a table, by tenant."""
    return rows_by_tenant(session.query(count_by_tenant(sut, table)))


def whose(seen: Mapping[str | None, int], tenant: Tenant, own: int) -> str:
    """Return in words whose rows a session sees."""
    mine = seen.get(tenant.id, 0)
    others = sum(seen.values()) - mine
    first = (
        "no rows" if not mine else "its own rows" if mine == own else f"{mine} of its {own} rows"
    )
    return f"{first} and rows of others" if others else first


def outcome(seen: Rows | Refused) -> str:
    """Return the outcome of a statement in a few words."""
    if isinstance(seen, Refused):
        return f"{seen.sqlstate} {seen.message}"
    return f"{seen.count} rows"
