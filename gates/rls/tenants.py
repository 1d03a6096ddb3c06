"""Make two tenants with rows, and define what each role can see of them.

Owns the seed of this gate: as superuser, so that no policy stands between it and the tables, and
checked as superuser, so that every check starts from rows that are really there. Source: tenancy
contract; the statements know the columns of the reference system's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from harness.fixtures import Ids
from harness.probes.sql import Refused, Rows, Session, SqlProbe
from harness.sut import Sut

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
"""Table to the statement that inserts a tenant's rows."""


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant and how many rows it has in each table."""

    letter: str
    id: UUID
    rows: int


def bound_tables(sut: Sut) -> Mapping[str, tuple[str, ...]]:
    """Return role to the tables in which it sees its tenant's rows only.

    The worker's role is bound on every table; the operators' roles on the domain's, since they
    read every dead letter by contract.
    """
    domain = tuple(table for table in sut.tenancy.tables if table != sut.dead_letters.table)
    return {
        sut.roles.worker: sut.tenancy.tables,
        sut.roles.operator: domain,
        sut.roles.reader: domain,
    }


def two_tenants(sql: SqlProbe, sut: Sut, ids: Ids, *, tables: Sequence[str]) -> list[Tenant]:
    """Insert three rows of a new tenant A and two of a new tenant B in each table, and check it."""
    tenants = [
        Tenant(letter="A", id=ids.uuid(), rows=A_ROWS),
        Tenant(letter="B", id=ids.uuid(), rows=B_ROWS),
    ]
    for table in tables:
        assert table in SEEDS, f"seed of {table}: got none, expected a statement in gates/rls"
        for tenant in tenants:
            give_rows(sql, table, tenant, rows=tenant.rows)
        seen = rows_by_tenant(sql.query(count_by_tenant(sut, table)))
        there = [seen.get(tenant.id, 0) for tenant in tenants]
        assert there == [A_ROWS, B_ROWS], (
            f"superuser sees in {table}: got {there} rows of A and B, expected {[A_ROWS, B_ROWS]}"
        )
    return tenants


def give_rows(sql: SqlProbe, table: str, tenant: Tenant, *, rows: int) -> None:
    """Insert rows of a tenant as superuser, which no policy binds."""
    sql.query(SEEDS[table], {"tenant": tenant.id, "rows": rows})


def count_by_tenant(sut: Sut, table: str) -> str:
    """Return the query that counts a table's visible rows by tenant."""
    return f"SELECT {sut.tenancy.key}, count(*) FROM {table} GROUP BY 1"


def rows_by_tenant(seen: Rows) -> dict[UUID | None, int]:
    """Return the counts that `count_by_tenant` gave."""
    return {row[0]: row[1] for row in seen.rows}


def visible(session: Session, sut: Sut, table: str) -> dict[UUID | None, int]:
    """Return tenant to the number of its rows that a session sees in a table."""
    return rows_by_tenant(session.query(count_by_tenant(sut, table)))


def outcome(seen: Rows | Refused) -> str:
    """Return the outcome of a statement as a short text."""
    if isinstance(seen, Refused):
        return f"{seen.sqlstate} {seen.message}"
    return f"{seen.count} rows"


def policies_of(table: str) -> str:
    """Return the landing query over a table's policies."""
    return (
        "SELECT polname, polcmd, polroles::regrole[]::text, pg_get_expr(polqual, polrelid),"
        " pg_get_expr(polwithcheck, polrelid)"
        f" FROM pg_policy WHERE polrelid = '{table}'::regclass ORDER BY polname"
    )
