"""Gate rls: the tenant of a task, from its message to the pooled connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gates.holding import SCAN
from gates.rls.tenants import Tenant, policies_of, two_tenants
from harness import criterion, falsified_by, settings, source, sql
from harness.errors import InconclusiveError
from harness.fixtures import Ids
from harness.probes.worker import Worker
from harness.stack import POOL_SOLO, Stack
from harness.sut import Sut

EVENTS = "attribution_events"
RETAIN = "app.tasks.maintenance.enforce_data_retention"
RECOMPUTE = "app.tasks.attribution.recompute_window"
WINDOW = {"window_start": "2025-03-01T00:00:00Z", "window_end": "2025-03-02T00:00:00Z"}
BACKWARDS = {"window_start": WINDOW["window_end"], "window_end": WINDOW["window_start"]}
DATABASE = "system/connections/database.py"


@criterion("RLS-03")
@falsified_by(
    sql(
        "using-true",
        "CREATE POLICY open_read ON attribution_events FOR SELECT TO app_user USING (true)",
        landing=policies_of(EVENTS),
    ),
    expect="a scan for tenant A: got 5 rows",
)
@falsified_by(
    sql(
        "archive-for-everyone",
        "ALTER POLICY tenant_isolation ON attribution_events"
        " USING (occurred_at < now() - interval '1 year'"
        " OR tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)",
        landing=policies_of(EVENTS),
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
# Seen in public, in a library's reaper of left-over containers: it said that it had succeeded while
# nothing was reaped (testcontainers-python#1114). Here a dry run went live: the task counts what
# it would delete, reports that, and deletes nothing.
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
    """With 3 rows of A and 2 of B, a scan finds 3 for A and 2 for B, and A's retention spares B."""
    worker = own_stack.worker
    own_stack.sql.query(f"TRUNCATE {EVENTS}")
    a, b = two_tenants(own_stack.sql, sut, ids, tables=(EVENTS,))
    _assert_runs_as_the_workers_role(own_stack, sut, worker)
    for tenant in (a, b, a):
        ended = own_stack.tasks.run(SCAN, {sut.tenancy.key: tenant.id})
        got = (ended.value or {}).get("scanned")
        assert got == tenant.rows, (
            f"a scan for tenant {tenant.letter}: got {got} rows, expected its {tenant.rows}"
            f" (it ended as {ended.state}: {ended.value})"
        )
    _assert_retention_spares_others(own_stack, sut, a, b)


def _assert_runs_as_the_workers_role(stack: Stack, sut: Sut, worker: Worker) -> None:
    """Query PostgreSQL for the role of the worker's connections: another would prove nothing."""
    told = stack.tasks.run(sut.ping.task, sut.ping.arguments).value
    sessions = stack.sql.query(
        "SELECT pid, usename FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name <> 'gateproof'"
    ).dicts()
    pids = [session["pid"] for session in sessions]
    assert told["backend_pid"] in pids, (
        f"{worker.name}: session of its tasks: got {pids}, expected {told['backend_pid']} among it"
    )
    roles = sorted({session["usename"] for session in sessions})
    assert roles == [sut.roles.worker], (
        f"{worker.name}: roles of the system's sessions: got {roles}, expected {sut.roles.worker}"
    )


def _assert_retention_spares_others(stack: Stack, sut: Sut, a: Tenant, b: Tenant) -> None:
    """Judge that of two old rows the retention of tenant A deletes only A's.

    Judged by the rows that are left, which the superuser counts: the task's own report is believed
    only where it agrees with them.
    """
    stack.sql.query(
        f"UPDATE {EVENTS} SET occurred_at = now() - interval '2 years' WHERE id IN"
        f" (SELECT DISTINCT ON ({sut.tenancy.key}) id FROM {EVENTS})"
    )
    ended = stack.tasks.run(RETAIN, {sut.tenancy.key: a.id, "retention_days": 30})
    assert ended.state == "SUCCESS", (
        f"retention of tenant A: got {ended.state} {ended.value}, expected SUCCESS"
    )
    rows = stack.sql.query(f"SELECT {sut.tenancy.key}, count(*) FROM {EVENTS} GROUP BY 1").rows
    seen = {row[0]: row[1] for row in rows}
    got = f"{seen.get(a.id, 0)} of A and {seen.get(b.id, 0)} of B"
    expected = f"{a.rows - 1} of A and {b.rows} of B"
    assert got == expected, f"rows after the retention of tenant A: got {got}, expected {expected}"
    told = ended.value.get("deleted")
    assert told == 1, (
        f"what the retention of tenant A reports as deleted: got {told}, expected the 1 that went"
    )


@criterion("RLS-06")
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
                    if tenant_id is not None:  # for whoever writes the failure down
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
    """The pooled connection of a process has no tenant after success, failure or retry."""
    # One process, so that every task uses the connection of the previous one.
    with own_stack.running_worker(pool=POOL_SOLO, concurrency=1, name="pooled") as worker:
        own_stack.wait_ready(worker)
        _assert_leaves_nothing(own_stack, sut, worker, str(ids.uuid()))


def _assert_leaves_nothing(stack: Stack, sut: Sut, worker: Worker, tenant: str) -> None:
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
    _assert_log_forgets(stack, sut, worker, tenant)


def _ping(stack: Stack, sut: Sut, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    ended = stack.tasks.run(sut.ping.task, {**sut.ping.arguments, **(arguments or {})})
    assert ended.state == "SUCCESS", f"ping: got {ended.state} {ended.value}, expected SUCCESS"
    told: Mapping[str, Any] = ended.value
    return told


def _assert_no_tenant(told: Mapping[str, Any], when: str, backend: int) -> None:
    """Judge that the connection of the previous task has no tenant."""
    got = told["tenant"]
    assert not got, f"tenant that a ping sees {when}: got {got!r}, expected none"
    if told["backend_pid"] != backend:
        raise InconclusiveError(
            f"connection of a ping {when}: got backend {told['backend_pid']}, expected {backend}:"
            " only the pooled connection of the task before can show what it left"
        )


def _assert_log_forgets(stack: Stack, sut: Sut, worker: Worker, tenant: str) -> None:
    """Judge that the tenant does not stay in the log context of later tasks either."""
    names = sut.logs
    task_id = stack.tasks.run(sut.ping.task, sut.ping.arguments).task_id
    asked: dict[str, Any] = {names.message: names.success, names.task_id: task_id}
    lines = worker.wait_log(**asked)
    found = [line.get(names.tenant_id) for line in lines.matching(**asked)]
    assert found == [None], f"tenant in the log line of a last ping: got {found}, expected [None]"
    told = lines.matching(**{names.message: names.success, names.tenant_id: tenant})
    assert told, f"log lines of tenant A: got {len(told)}, expected those of its tasks"
