"""Two tenants with rows of their own, and the tables in which each role sees only these.

Owns the seed of this gate. It is written as superuser, so that no policy applies to it, and read
back as superuser, so that every check starts from rows that really exist. Source: tenancy contract;
the statements know the columns of the reference system's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from gateproof import Ids, Refused, Rows, Session, SqlProbe, Sut, at_least_one, premise

A_ROWS, B_ROWS = 3, 2

SEEDS = {
    "attribution_events": (
        "INSERT INTO attribution_events (tenant_id, event_type)"
        " SELECT %(tenant)s, 'seed' FROM generate_series(1, %(rows)s)"
    ),
    "attribution_recompute_jobs": (
        "INSERT INTO attribution_recompute_jobs"
        " (tenant_id, window_start, window_end, model_version, request_id)"
        " SELECT %(tenant)s, now(), now() + interval '1 day', gen_random_uuid()::text, 'seed'"
        " FROM generate_series(1, %(rows)s)"
    ),
    "worker_failed_jobs": (
        "INSERT INTO worker_failed_jobs (tenant_id, task_id, task_name, exception_class)"
        " SELECT %(tenant)s, gen_random_uuid()::text, 'seed', 'ValueError'"
        " FROM generate_series(1, %(rows)s)"
    ),
}
"""Table to the statement that inserts rows of a tenant."""


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant and the number of its rows in each table."""

    name: str
    id: UUID
    rows: int


def bound_tables(sut: Sut) -> Mapping[str, tuple[str, ...]]:
    """Map each role to the tables in which it sees only its tenant's rows; the worker's has some.

    Policies bind the worker's role on every table. They bind the operators' roles on the domain's
    tables only, because these roles read all dead-letter rows by contract.
    """
    tables = at_least_one(f"{sut.path.name}: tenancy.tables", sut.tenancy.tables)
    domain = tuple(table for table in tables if table != sut.dead_letters.table)
    return {
        sut.worker.role: tables,
        sut.dead_letters.operator: domain,
        sut.dead_letters.reader: domain,
    }


def two_tenants(sql: SqlProbe, sut: Sut, ids: Ids, *, tables: Sequence[str]) -> list[Tenant]:
    """Insert three rows of a new tenant A and two of a new tenant B, and see that they exist."""
    tenants = [
        Tenant(name="A", id=ids.uuid(), rows=A_ROWS),
        Tenant(name="B", id=ids.uuid(), rows=B_ROWS),
    ]
    for table in at_least_one("tables with rows of tenants", tables):
        premise("statement that seeds a table", on=table, got=table in SEEDS, expected=True)
        for tenant in tenants:
            give_rows(sql, table, tenant, rows=tenant.rows)
        seen = rows_by_tenant(sql.query(count_by_tenant(sut, table)))
        counts = [seen.get(tenant.id, 0) for tenant in tenants]
        rows = [A_ROWS, B_ROWS]
        premise("rows of A and B that the superuser sees", on=table, got=counts, expected=rows)
    return tenants


def empty(sql: SqlProbe, tables: Sequence[str]) -> None:
    """Remove all rows of tables, and of tables with a foreign key to one of them, as superuser.

    Without CASCADE, PostgreSQL refuses to truncate a table that another one references.
    """
    sql.query(f"TRUNCATE {', '.join(at_least_one('tables to empty', tables))} CASCADE")


def give_rows(sql: SqlProbe, table: str, tenant: Tenant, *, rows: int) -> None:
    """Insert rows of a tenant as superuser, which no policy binds."""
    sql.query(SEEDS[table], {"tenant": tenant.id, "rows": rows})


def count_by_tenant(sut: Sut, table: str) -> str:
    """Return the query that counts a table's visible rows by tenant."""
    return f"SELECT {sut.tenancy.key}, count(*) FROM {table} GROUP BY 1"


def rows_by_tenant(seen: Rows) -> dict[UUID | None, int]:
    """Return the result of `count_by_tenant` as a mapping."""
    return {row[0]: row[1] for row in seen.rows}


def visible(session: Session, sut: Sut, table: str) -> dict[UUID | None, int]:
    """Return the number of rows that a session sees in a table, by tenant."""
    return rows_by_tenant(session.query(count_by_tenant(sut, table)))


def outcome(seen: Rows | Refused) -> str:
    """Return the outcome of a statement in a few words."""
    if isinstance(seen, Refused):
        return f"{seen.sqlstate} {seen.message}"
    return f"{seen.count} rows"


def policies_of(table: str) -> str:
    """Return the landing query for the policies of a table."""
    return (
        "SELECT polname, polcmd, polroles::regrole[]::text, pg_get_expr(polqual, polrelid),"
        " pg_get_expr(polwithcheck, polrelid)"
        f" FROM pg_policy WHERE polrelid = '{table}'::regclass ORDER BY polname"
    )
