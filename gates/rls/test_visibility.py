"""Gate rls: the rows that SQL shows to a session with a tenant, and without one."""

from __future__ import annotations

from gateproof import Ids, Refused, Session, Stack, Sut, criterion, falsified_by, migration, sql

from .tenants import (
    Tenant,
    bound_tables,
    empty,
    outcome,
    policies_of,
    two_tenants,
    visible,
)

INVALID_VALUE = "22"
"""SQLSTATE class of data exceptions, with which a malformed tenant may be refused."""


@criterion(
    "RLS-02",
    needs=("database", "worker", "tenancy", "dead_letters.operator", "dead_letters.reader"),
)
@falsified_by(
    sql(
        "drop-policy",
        "DROP POLICY tenant_isolation ON attribution_events",
        landing=policies_of("attribution_events"),
    ),
    expect="app_user as tenant A sees in attribution_events: got 0 of A and 0 of B",
)
@falsified_by(
    sql(
        "using-true",
        "CREATE POLICY open_read ON attribution_events FOR SELECT TO app_user USING (true)",
        landing=policies_of("attribution_events"),
    ),
    expect="app_user as tenant A sees in attribution_events: got 3 of A and 2 of B",
)
@falsified_by(
    migration(
        "misspelt-guc",
        "migrations/versions/core/core_0002_recompute_jobs.py",
        "current_setting('app.current_tenant_id', true)",
        "current_setting('app.curent_tenant_id', true)",
        landing=policies_of("attribution_recompute_jobs"),
    ),
    expect="app_user as tenant A sees in attribution_recompute_jobs: got 0 of A and 0 of B",
)
@falsified_by(
    sql(
        "owner-without-force",
        "ALTER TABLE worker_failed_jobs NO FORCE ROW LEVEL SECURITY;"
        " ALTER TABLE worker_failed_jobs OWNER TO app_user",
        landing="SELECT relforcerowsecurity, relowner::regrole::text FROM pg_class"
        " WHERE relname = 'worker_failed_jobs'",
        role="superuser",
    ),
    expect="app_user as tenant A sees in worker_failed_jobs: got 3 of A and 2 of B",
)
@falsified_by(
    sql(
        "reader-left-out",
        "ALTER POLICY tenant_isolation ON attribution_recompute_jobs TO app_user, app_rw",
        landing=policies_of("attribution_recompute_jobs"),
    ),
    expect="app_ro as tenant A sees in attribution_recompute_jobs: got 0 of A and 0 of B",
)
# A public example is a test suite of row-level security that connected as superuser, which bypasses
# policies: with every policy dropped, all of its 15 tests passed (ourway/auth#35).
@falsified_by(
    sql(
        "asked-as-superuser",
        "ALTER ROLE app_user SUPERUSER",
        landing="SELECT rolsuper FROM pg_roles WHERE rolname = 'app_user'",
        role="superuser",
        scope="server",
    ),
    expect="app_user as tenant A sees in attribution_events: got 3 of A and 2 of B",
)
# A role that may not read at all sees no foreign row either, but does not see its own.
@falsified_by(
    sql(
        "reader-may-not-read",
        "REVOKE SELECT ON attribution_events FROM app_ro",
        landing="SELECT relacl FROM pg_class WHERE relname = 'attribution_events'",
    ),
    expect="app_ro: SELECT tenant_id, count(*) FROM attribution_events GROUP BY 1: got 42501",
)
def test_each_tenant_sees_exactly_its_own_rows(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """With 3 rows of A and 2 of B, A sees 3 and 0 of B, B sees 2 and 0 of A, one after another.

    Judged as the worker's role on every table with a tenant, and as the operators' roles.
    """
    tenants = two_tenants(own_stack.sql, sut, ids, tables=sut.tenancy.tables)
    for role, tables in bound_tables(sut).items():
        with own_stack.sql.session(role) as session:
            for tenant in (*tenants, tenants[0]):
                session.set_local(sut.tenancy.guc, str(tenant.id))
                for table in tables:
                    _assert_sees_its_own(session, sut, role, table, tenant, tenants)
                session.commit()


def _assert_sees_its_own(
    session: Session, sut: Sut, role: str, table: str, tenant: Tenant, tenants: list[Tenant]
) -> None:
    seen = visible(session, sut, table)
    got = " and ".join(f"{seen.get(each.id, 0)} of {each.name}" for each in tenants)
    expected = " and ".join(
        f"{each.rows if each is tenant else 0} of {each.name}" for each in tenants
    )
    where = f"{role} as tenant {tenant.name} sees in {table}"
    assert got == expected, f"{where}: got {got}, expected {expected}"
    others = sum(seen.values()) - tenant.rows
    assert others == 0, f"{where}: got {others} rows of no tenant or of others, expected 0"


@criterion(
    "RLS-04",
    needs=("database", "worker", "tenancy", "dead_letters.operator", "dead_letters.reader"),
)
@falsified_by(
    sql(
        "unset-sees-all",
        "ALTER POLICY tenant_isolation ON attribution_events"
        " USING (current_setting('app.current_tenant_id', true) IS NULL"
        " OR tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)",
        landing=policies_of("attribution_events"),
    ),
    expect="app_user without a tenant reads attribution_events: got 5 rows",
)
@falsified_by(
    sql(
        "unset-raises",
        "ALTER POLICY tenant_isolation ON attribution_recompute_jobs"
        " USING (tenant_id = nullif(current_setting('app.current_tenant_id'), '')::uuid)",
        landing=policies_of("attribution_recompute_jobs"),
    ),
    expect="app_user without a tenant reads attribution_recompute_jobs: got 42704",
)
@falsified_by(
    sql(
        "nobody-sees-what-is-nobodys",
        "ALTER POLICY tenant_read ON worker_failed_jobs USING (tenant_id IS NOT DISTINCT FROM"
        " nullif(current_setting('app.current_tenant_id', true), '')::uuid)",
        landing=policies_of("worker_failed_jobs"),
    ),
    expect="app_user without a tenant reads worker_failed_jobs: got 1 rows",
)
@falsified_by(
    sql(
        "no-nullif",
        "ALTER POLICY tenant_isolation ON attribution_events"
        " USING (tenant_id = current_setting('app.current_tenant_id', true)::uuid)",
        landing=policies_of("attribution_events"),
    ),
    expect="app_user with an empty tenant reads attribution_events: got 22P02",
)
@falsified_by(
    sql(
        "malformed-sees-all",
        "ALTER POLICY tenant_isolation ON attribution_events USING ("
        "CASE WHEN current_setting('app.current_tenant_id', true) ~ '^[0-9a-f-]{36}$'"
        " THEN tenant_id = current_setting('app.current_tenant_id', true)::uuid"
        " ELSE coalesce(current_setting('app.current_tenant_id', true), '') <> '' END)",
        landing=policies_of("attribution_events"),
    ),
    expect="app_user with the malformed tenant 'not-a-uuid' reads attribution_events: got 5 rows",
)
def test_without_a_tenant_nothing_is_seen(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """An unset, empty or used GUC gives no row and no error, and a malformed one no row."""
    empty(own_stack.sql, sut.tenancy.tables)  # so that rows without a tenant can be counted
    tenant, _ = two_tenants(own_stack.sql, sut, ids, tables=sut.tenancy.tables)
    _add_row_without_tenant(own_stack, sut)
    for role, tables in bound_tables(sut).items():
        with own_stack.sql.session(role) as session:
            _assert_sees_nothing_unset(session, sut, role, tables)
            _assert_sees_nothing_after_use(session, sut, role, tables, tenant)
            _assert_sees_nothing_malformed(session, sut, role, tables, tenant)


def _add_row_without_tenant(stack: Stack, sut: Sut) -> None:
    """Insert a dead-letter row without a tenant: `=` and `IS NOT DISTINCT FROM` differ on it."""
    table = sut.dead_letters.table
    stack.sql.query(
        f"INSERT INTO {table} (task_id, task_name, exception_class) VALUES (%s, 'seed', 'E')",
        ("without-tenant",),
    )


def _assert_sees_nothing_unset(
    session: Session, sut: Sut, role: str, tables: tuple[str, ...]
) -> None:
    value = session.query("SELECT current_setting(%s, true)", (sut.tenancy.guc,)).scalar()
    assert value is None, f"{sut.tenancy.guc} of a new session: got {value!r}, expected unset"
    _assert_reads_nothing(session, f"{role} without a tenant", tables)
    session.set_local(sut.tenancy.guc, "")
    _assert_reads_nothing(session, f"{role} with an empty tenant", tables)
    session.rollback()


def _assert_sees_nothing_after_use(
    session: Session, sut: Sut, role: str, tables: tuple[str, ...], tenant: Tenant
) -> None:
    """Assert that no row is visible once the GUC, set in an ended transaction, reads as empty."""
    for end, finish in (("committed", session.commit), ("rolled-back", session.rollback)):
        session.set_local(sut.tenancy.guc, str(tenant.id))
        for table in tables:
            seen = visible(session, sut, table)
            assert seen == {tenant.id: tenant.rows}, (
                f"{role} as tenant A sees in {table}: got {seen}, expected its {tenant.rows} rows"
            )
        finish()
        value = session.query("SELECT current_setting(%s, true)", (sut.tenancy.guc,)).scalar()
        where = f"{role} after a {end} transaction of tenant A"
        assert value == "", f"{where}: {sut.tenancy.guc}: got {value!r}, expected ''"
        _assert_reads_nothing(session, where, tables)
        session.rollback()


def _assert_reads_nothing(session: Session, where: str, tables: tuple[str, ...]) -> None:
    for table in tables:
        seen = session.attempt(f"SELECT * FROM {table}")
        assert not isinstance(seen, Refused), (
            f"{where} reads {table}: got {outcome(seen)}, expected no row and no error"
        )
        assert seen.count == 0, f"{where} reads {table}: got {seen.count} rows, expected 0"


def _assert_sees_nothing_malformed(
    session: Session, sut: Sut, role: str, tables: tuple[str, ...], tenant: Tenant
) -> None:
    """Assert that no row is visible; an error about the value is allowed."""
    for value in ("not-a-uuid", f"{tenant.id}x", f"{tenant.id}' OR true --", "%", "NULL"):
        session.set_local(sut.tenancy.guc, value)
        for table in tables:
            seen = session.attempt(f"SELECT * FROM {table}")
            where = f"{role} with the malformed tenant {value!r} reads {table}"
            if isinstance(seen, Refused):
                assert seen.sqlstate.startswith(INVALID_VALUE), (
                    f"{where}: got {outcome(seen)}, expected no row, or a refusal of the value"
                )
            else:
                assert seen.count == 0, f"{where}: got {seen.count} rows, expected 0"
        session.rollback()
