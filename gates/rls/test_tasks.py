"""Gate rls: the tenant of a task, from its message to the pooled connection and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateproof import (
    POOL_SOLO,
    Ids,
    InconclusiveError,
    Stack,
    Sut,
    Tenant,
    Worker,
    criterion,
    falsified_by,
    settings,
    source,
    sql,
    tenant_tables,
)

from ..holding import SCAN
from .tenants import empty, two_tenants

EVENTS = "attribution_events"
POLICIES = (
    "SELECT polname, pg_get_expr(polqual, polrelid) FROM pg_policy"
    f" WHERE polrelid = '{EVENTS}'::regclass ORDER BY polname"
)
RETAIN = "app.tasks.maintenance.enforce_data_retention"
RECOMPUTE = "app.tasks.attribution.recompute_window"
WINDOW = {"window_start": "2025-03-01T00:00:00Z", "window_end": "2025-03-02T00:00:00Z"}
BACKWARDS = {"window_start": WINDOW["window_end"], "window_end": WINDOW["window_start"]}
DATABASE = "system/connections/database.py"


@criterion("RLS-03", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    sql(
        "using-true",
        "CREATE POLICY open_read ON attribution_events FOR SELECT TO app_user USING (true)",
        landing=POLICIES,
    ),
    expect="a scan for tenant A: got 5 rows",
)
@falsified_by(
    sql(
        "archive-for-everyone",
        "ALTER POLICY tenant_isolation ON attribution_events"
        " USING (occurred_at < now() - interval '1 year'"
        " OR tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)",
        landing=POLICIES,
    ),
    expect="rows after the retention of tenant A: got 2 of A and 1 of B",
)
@falsified_by(
    source(
        "tenant-set-in-a-transaction-of-its-own",
        DATABASE,
        function="transaction",
        body="""
            if tenant_id is not None:
                with task_engine().begin() as connection:
                    connection.execute(
                        text("SELECT set_config(:guc, :tenant_id, true)"),
                        {"guc": TENANT_GUC, "tenant_id": str(tenant_id)},
                    )
            with task_engine().begin() as connection:
                yield connection
        """,
    ),
    expect="a scan for tenant A: got 0 rows",
)
# A public example is a library's cleanup of left-over containers: it reported success, but removed
# nothing (testcontainers-python#1114). This fault is a dry run in production: the task counts and
# reports the rows that it would delete, and deletes nothing.
@falsified_by(
    source(
        "reports-what-it-would-delete",
        "system/tasks/maintenance.py",
        "DELETE FROM attribution_events",
        "SELECT id FROM attribution_events",
    ),
    expect="rows after the retention of tenant A: got 3 of A and 2 of B",
)
def test_tasks_see_their_tenants_rows_only(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """With 3 rows of A and 2 of B, scans find 3 and 2, and A's retention deletes no row of B."""
    worker = own_stack.worker
    tables = [one for one in tenant_tables(own_stack.sql, sut) if one.name == EVENTS]
    empty(own_stack.sql, tables)
    a, b = two_tenants(own_stack.sql, sut, ids, tables=tables)
    _assert_runs_as_the_workers_role(own_stack, sut, worker)
    for tenant in (a, b, a):
        ended = own_stack.tasks.run(SCAN, {sut.tenancy.key: tenant.id})
        got = (ended.value or {}).get("scanned")
        assert got == tenant.rows, (
            f"a scan for tenant {tenant.name}: got {got} rows, expected its {tenant.rows}"
            f" (it ended as {ended.state}: {ended.value})"
        )
    _assert_retention_spares_others(own_stack, sut, a, b)


def _assert_runs_as_the_workers_role(stack: Stack, sut: Sut, worker: Worker) -> None:
    """Assert that the worker's sessions have the worker's role: others may bypass the policies."""
    report = stack.tasks.run(sut.ping.task, sut.ping.arguments).value
    sessions = stack.sql.query(
        "SELECT pid, usename FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name <> 'gateproof'"
    ).dicts()
    pids = [session["pid"] for session in sessions]
    assert report["backend_pid"] in pids, (
        f"{worker.name}: session of its tasks: got {pids}, expected {report['backend_pid']} in it"
    )
    roles = sorted({session["usename"] for session in sessions})
    assert roles == [sut.worker.role], (
        f"{worker.name}: roles of the system's sessions: got {roles}, expected {sut.worker.role}"
    )


def _assert_retention_spares_others(stack: Stack, sut: Sut, a: Tenant, b: Tenant) -> None:
    """Make one row of each tenant two years old, and assert that A's retention deletes A's only.

    The superuser counts the rows that are left. The report of the task must agree with this count.
    """
    stack.sql.query(
        f"UPDATE {EVENTS} SET occurred_at = now() - interval '2 years' WHERE id IN"
        f" (SELECT DISTINCT ON ({sut.tenancy.key}) id FROM {EVENTS})"
    )
    ended = stack.tasks.run(RETAIN, {sut.tenancy.key: a.id, "retention_days": 30})
    assert ended.state == "SUCCESS", (
        f"retention of tenant A: got {ended.state} {ended.value}, expected SUCCESS"
    )
    rows = stack.sql.query(
        f"SELECT {sut.tenancy.key}::text, count(*) FROM {EVENTS} GROUP BY 1"
    ).rows
    seen = {row[0]: row[1] for row in rows}
    got = f"{seen.get(a.id, 0)} of A and {seen.get(b.id, 0)} of B"
    expected = f"{a.rows - 1} of A and {b.rows} of B"
    assert got == expected, f"rows after the retention of tenant A: got {got}, expected {expected}"
    deleted = ended.value.get("deleted")
    assert deleted == 1, (
        f"rows that the retention of tenant A reports as deleted: got {deleted}, expected 1"
    )


@criterion("RLS-06", needs=("database", "celery", "worker", "ping.fail", "task", "tenancy", "logs"))
@falsified_by(
    source("session-wide", DATABASE, ":tenant_id, true)", ":tenant_id, false)"),
    expect="tenant that a ping sees after a task of tenant A: got",
)
@falsified_by(
    source(
        "kept-after-failure",
        DATABASE,
        function="transaction",
        body="""
            statement = "SELECT set_config(:guc, :tenant_id, :local)"
            values = {"guc": TENANT_GUC, "tenant_id": str(tenant_id)}
            with task_engine().connect() as connection:
                try:
                    if tenant_id is not None:
                        connection.execute(text(statement), {**values, "local": True})
                    yield connection
                    connection.commit()
                except Exception:
                    connection.rollback()
                    if tenant_id is not None:  # for the code that records the failure
                        connection.execute(text(statement), {**values, "local": False})
                        connection.commit()
                    raise
        """,
    ),
    expect="tenant that a ping sees after a failed task of tenant A: got",
)
@falsified_by(
    settings(
        "connected-with-a-tenant",
        {"PGOPTIONS": "-c app.current_tenant_id=00000000-0000-4000-8000-000000000001"},
    ),
    expect="tenant that a ping sees before any task of a tenant: got",
)
def test_the_tenant_ends_with_its_task(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """The pooled connection of a process has no tenant after a success, failure or retry."""
    # One process, so that every task gets the connection of the task before it.
    with own_stack.running_worker(pool=POOL_SOLO, concurrency=1, name="pooled") as worker:
        own_stack.wait_ready(worker)
        _assert_no_task_leaves_its_tenant(own_stack, sut, worker, str(ids.uuid()))


def _assert_no_task_leaves_its_tenant(stack: Stack, sut: Sut, worker: Worker, tenant: str) -> None:
    key, ping = sut.tenancy.key, sut.ping
    before = _ping(stack, sut)
    backend = before["backend_pid"]
    _assert_no_tenant(before, "before any task of a tenant", backend)
    own = _ping(stack, sut, {key: tenant})
    assert own["tenant"] == tenant, (
        f"tenant that a ping of tenant A sees: got {own['tenant']!r}, expected {tenant!r}"
    )
    tasks: tuple[tuple[str, str, Mapping[str, Any], str], ...] = (
        ("a task", ping.task, ping.arguments, "SUCCESS"),
        ("a failed task", ping.task, ping.fail, "FAILURE"),
        ("a task that failed in SQL", RECOMPUTE, BACKWARDS, "FAILURE"),
        ("a task that raised", RECOMPUTE, {**WINDOW, "fail": True}, "FAILURE"),
        ("a retried task", ping.task, {"retry": 1}, "SUCCESS"),
    )
    for what, task, arguments, expected in tasks:
        ended = stack.tasks.run(task, {**arguments, key: tenant})
        assert ended.state == expected, (
            f"{what} of tenant A: got {ended.state} {ended.value}, expected {expected}"
        )
        _assert_no_tenant(_ping(stack, sut), f"after {what} of tenant A", backend)
    _assert_log_has_no_tenant(stack, sut, worker, tenant)


def _ping(stack: Stack, sut: Sut, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    ended = stack.tasks.run(sut.ping.task, {**sut.ping.arguments, **(arguments or {})})
    assert ended.state == "SUCCESS", f"ping: got {ended.state} {ended.value}, expected SUCCESS"
    report: Mapping[str, Any] = ended.value
    return report


def _assert_no_tenant(report: Mapping[str, Any], when: str, backend: int) -> None:
    """Assert that a ping saw no tenant, on the connection that the task before it used."""
    got = report["tenant"]
    assert not got, f"tenant that a ping sees {when}: got {got!r}, expected none"
    if report["backend_pid"] != backend:
        raise InconclusiveError(
            f"connection of a ping {when}: got backend {report['backend_pid']}, expected {backend}:"
            " only the pooled connection of the task before can show what it left"
        )


def _assert_log_has_no_tenant(stack: Stack, sut: Sut, worker: Worker, tenant: str) -> None:
    """Assert that the tenant does not stay in the log context, as it could after a task."""
    names = sut.logs
    task_id = stack.tasks.run(sut.ping.task, sut.ping.arguments).task_id
    fields: dict[str, Any] = {names.message: names.success, names.task_id: task_id}
    lines = worker.wait_log(**fields)
    found = [line.get(names.tenant_id) for line in lines.matching(**fields)]
    assert found == [None], f"tenant in the log line of a last ping: got {found}, expected [None]"
    own = lines.matching(**{names.message: names.success, names.tenant_id: tenant})
    assert own, f"log lines of tenant A: got {len(own)}, expected those of its tasks"
