"""Two tenants with rows of their own, and the tables in which each role sees only these.

Owns the seed of this gate. It is written as superuser, so that no policy applies to it, and read
back as superuser, so that every check starts from rows that really exist. Rows and tables come from
the catalogue of the database and from the description: this gate knows no table of any system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateproof import (
    TABLES_OF_A_KIND,
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

Expect = tuple[str, str] | tuple[str, str, str]
"""The name of a claim, its object and, optionally, a part of its values in words."""

A_ROWS, B_ROWS = 3, 2

ROLES = "application roles: roles with a login other than the owner of the schema"
"""The premise that there is a role which policies must bind."""

Seen = dict[str | None, int] | str
"""The number of visible rows by the id of the tenant, or the refusal to read them."""

NO_TENANT, OTHERS = "no tenant", "others"
"""Names for the owners of rows that belong to none of the tenants of a check."""

READABLE = """
    SELECT c.oid FROM pg_class c
    WHERE c.oid = ANY(%(tables)s) AND has_schema_privilege(%(role)s, c.relnamespace, 'USAGE')
        AND has_table_privilege(%(role)s, c.oid, 'SELECT')
"""


def bound_tables(sql: SqlProbe, sut: Sut) -> Mapping[str, tuple[Table, ...]]:
    """Map each role to the tables in which it sees only its tenant's rows.

    Policies bind the first role on every table. They bind the roles that read dead-letter rows on
    the domain's tables only, because these roles read all such rows by contract; another role need
    not read these rows, and is bound if it does. Of discovered tables, a role is bound on those
    that it may read; of listed ones, it must be able to read each of the domain.
    """
    found = tenant_tables(sql, sut)
    tables = at_least_one(f"{sut.path.name}: tenancy.tables", found)
    domain = tuple(table for table in tables if not is_dead_letters(sut, table.name))
    rows = tuple(table for table in tables if table not in domain)
    wide = _readers_of_dead_letters(sut)
    first, *others = at_least_one(ROLES, sut.application_roles)
    bound = {first: tables}
    for role in others:
        more = () if role in wide else _readable(sql, role, rows)
        bound[role] = tuple(table for table in tables if table in domain or table in more)
    if not sut.tenancy.discovers:
        return bound
    return {role: _readable(sql, role, own) for role, own in bound.items()}


def tables_of(bound: Mapping[str, Sequence[Table]]) -> tuple[Table, ...]:
    """Return the tables of all roles, each once: with discovered ones, a role may read others."""
    return tuple(dict.fromkeys(table for tables in bound.values() for table in tables))


def is_dead_letters(sut: Sut, table: str) -> bool:
    """Return whether a table is that of the dead-letter rows, which some roles read as a whole."""
    return bool(table == sut.value_of("dead_letters.table"))


def _readers_of_dead_letters(sut: Sut) -> set[str]:
    """Return the roles that read the dead-letter rows of all tenants by contract."""
    keys = ("dead_letters.operator", "dead_letters.reader")
    return {str(sut.value_of(key)) for key in keys if sut.describes(key)}


def _readable(sql: SqlProbe, role: str, tables: Sequence[Table]) -> tuple[Table, ...]:
    parameters = {"role": role, "tables": [table.oid for table in tables]}
    readable = sql.query(READABLE, parameters).column()
    return tuple(table for table in tables if table.oid in readable)


def domain_tables(sut: Sut) -> tuple[str, ...]:
    """Return the listed tables on which policies bind every application role."""
    return tuple(table for table in sut.tenancy.listed if not is_dead_letters(sut, table))


def falsified_on_tables(
    predictions: Mapping[str, Expect],
    *,
    every_table: bool = False,
    domain: bool = False,
    of_a_kind: int = TABLES_OF_A_KIND,
) -> pytest.MarkDecorator:
    """Declare falsifiers on the tables of tenants, made from the description.

    Args:
        predictions: kinds of faults, with the claim that each must make false. In it, ``{table}``
            is the table, and ``{role}``, ``{second}`` and ``{last}`` are roles.
        every_table: whether each table gets at least one of them.
        domain: whether only tables are used on which policies bind all roles; then there must be a
            list of tables.
        of_a_kind: the number of tables on which each kind is proven, if there are so many.

    """

    def picks(sut: Sut) -> list[Pick]:
        alone = len(sut.application_roles) == 1
        if not sut.role_names or (domain and (alone or not domain_tables(sut))):
            return []
        tables = domain_tables(sut) if domain else None
        return spread(sut, predictions, every_table=every_table, tables=tables, of_a_kind=of_a_kind)

    def make(sut: Sut, pick: Pick) -> tuple[Fault, Expect]:
        return tenant_fault(pick), expected(sut, predictions[pick.kind])

    return falsified_by_each(picks, make)


def expected(sut: Sut, prediction: Expect) -> Expect:
    """Return a prediction with the names of roles filled in."""
    name, on, *text = prediction
    filled = (with_roles(sut, one) for one in text)
    return (name, with_roles(sut, on), *filled)  # type: ignore[return-value]


def with_roles(sut: Sut, text: str) -> str:
    """Return a text with the names of roles filled in."""
    for name, role in sut.role_names.items():
        text = text.replace(f"{{{name}}}", role)
    return text


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
        see_rows(session, sut, tables, tenants)
    return tenants


def a_and_b(ids: Ids, tables: Sequence[Table]) -> list[Tenant]:
    """Return the tenants A and B, which have no rows yet."""
    return [
        new_tenant(ids, tables, name="A", rows=A_ROWS),
        new_tenant(ids, tables, name="B", rows=B_ROWS),
    ]


def see_rows(
    session: Session, sut: Sut, tables: Sequence[Table], tenants: Sequence[Tenant]
) -> None:
    """Continue only if the superuser sees the rows of the tenants.

    A row of a partitioned table is one of its partition as well, so there can be more of them.
    """
    seen = visible(session, sut, tables)
    for table in tables:
        counted = seen[table.oid]
        few = [
            one.name
            for one in tenants
            if isinstance(counted, str) or counted.get(one.id, 0) < one.rows_in(table)
        ]
        premise(
            "tenants with too few rows that the superuser sees", on=table.name, got=few, expected=[]
        )


def seen_as_superuser(sql: SqlProbe, sut: Sut, tables: Sequence[Table]) -> dict[int, Seen]:
    """Return the number of rows of each tenant by the object id of the table."""
    with sql.session() as session:
        return visible(session, sut, tables)


def empty(sql: SqlProbe, tables: Sequence[Table]) -> None:
    """Remove all rows of tables, and of tables with a foreign key to one of them, as superuser.

    Without CASCADE, PostgreSQL refuses to truncate a table that another one references.
    """
    names = [table.sql for table in at_least_one("tables to empty", tables)]
    sql.query(f"TRUNCATE {', '.join(names)} CASCADE")


def visible(session: Session, sut: Sut, tables: Sequence[Table]) -> dict[int, Seen]:
    """Return what a session sees in tables: the number of rows by tenant, or the refusal."""
    key = identifier(sut.tenancy.key)
    counts = {
        one.oid: f"SELECT {one.oid}::bigint, {key}::text, count(*) FROM {one.sql} GROUP BY 2"
        for one in tables
    }
    found: dict[int, Seen] = {}
    for oid, seen in in_few_statements(session, counts).items():
        found[oid] = seen if isinstance(seen, str) else {row[1]: row[2] for row in seen}
    return found


def readable_rows(session: Session, tables: Sequence[Table]) -> dict[int, int | str]:
    """Return the number of rows that a session reads in tables with all columns, or the refusal."""
    found: dict[int, int | str] = {}
    for kind in dict.fromkeys(one.key_type for one in tables):  # one type can refuse a value
        counts = {
            one.oid: f"SELECT {one.oid}::bigint, count(*) FROM (SELECT * FROM {one.sql}) AS t"
            for one in tables
            if one.key_type == kind
        }
        for oid, seen in in_few_statements(session, counts).items():
            found[oid] = seen if isinstance(seen, str) else seen[0][1]
    return found


def in_few_statements(
    session: Session, selects: Mapping[int, str]
) -> dict[int, list[tuple[Any, ...]] | str]:
    """Run a query about each of many tables, in one statement if none is refused.

    Args:
        session: the session; a refusal does not end its transaction.
        selects: maps the object id of each table to its query, whose first column is this id.

    Returns:
        The rows of each query, or its refusal in words.

    """
    if not selects:
        return {}
    whole = session.attempt(" UNION ALL ".join(f"({one})" for one in selects.values()))
    if isinstance(whole, Rows):
        found: dict[int, list[tuple[Any, ...]] | str] = {oid: [] for oid in selects}
        for row in whole.rows:
            rows = found[row[0]]
            assert isinstance(rows, list)
            rows.append(row)
        return found
    single = {oid: session.attempt(one) for oid, one in selects.items()}
    return {
        oid: refusal(seen) if isinstance(seen, Refused) else list(seen.rows)
        for oid, seen in single.items()
    }


def by_name(seen: Seen, tenants: Sequence[Tenant]) -> dict[str, int] | str:
    """Return the number of rows by the names of tenants, which are the same in every run."""
    if isinstance(seen, str):
        return seen
    names = {one.id: one.name for one in tenants}
    counted: Counter[str] = Counter()
    for tenant, rows in seen.items():
        counted[NO_TENANT if tenant is None else names.get(tenant, OTHERS)] += rows
    return dict(sorted(counted.items()))


def own_rows(seeded: Seen, tenant: Tenant) -> dict[str, int]:
    """Return the rows that a tenant must see: its own, as the superuser counts them."""
    return {tenant.name: 0 if isinstance(seeded, str) else seeded.get(tenant.id, 0)}


def outcome(seen: Rows | Refused) -> str:
    """Return the outcome of a statement in a few words."""
    return refusal(seen) if isinstance(seen, Refused) else f"{seen.count} rows"


def refusal(seen: Refused) -> str:
    """Return a refusal in words, the first of which is its SQLSTATE."""
    return f"{seen.sqlstate} {seen.message}"
