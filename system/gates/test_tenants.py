"""Gate rls: the tenant of the system's tasks, from the message to the pooled connection and back.

Its migrations are judged here too: the pack's checks show what a changed policy leads to, and these
falsifiers show that a revision with a mistake in it is found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateproof import (
    POOL_SOLO,
    Ids,
    RowMaker,
    SqlProbe,
    Stack,
    Sut,
    Table,
    Tenant,
    Worker,
    at_least_one,
    claim,
    criterion,
    falsified_by,
    migration,
    new_tenant,
    premise,
    settings,
    source,
    sql,
    tables_with_key,
    tenant_tables,
)

from .test_workflow import SCAN

EVENTS, JOBS = "attribution_events", "attribution_recompute_jobs"
POLICIES = (
    "SELECT polname, pg_get_expr(polqual, polrelid) FROM pg_policy"
    f" WHERE polrelid = '{EVENTS}'::regclass ORDER BY polname"
)
RETAIN = "app.tasks.maintenance.enforce_data_retention"
RECOMPUTE = "app.tasks.attribution.recompute_window"
WINDOW = {"window_start": "2025-03-01T00:00:00Z", "window_end": "2025-03-02T00:00:00Z"}
BACKWARDS = {"window_start": WINDOW["window_end"], "window_end": WINDOW["window_start"]}
DATABASE = "system/connections/database.py"


HOLDING = """
    SELECT DISTINCT CASE WHEN l.pid IS NULL THEN a.state ELSE 'advisory lock' END
    FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory'
    WHERE a.datname = current_database() AND a.application_name = 'system-tasks'
        AND (a.state <> 'idle' OR l.pid IS NOT NULL)
"""
FLAGS = "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s"
EXPRESSIONS = """
    SELECT polname, concat_ws(' ', pg_get_expr(polqual, polrelid),
        pg_get_expr(polwithcheck, polrelid))
    FROM pg_policy WHERE polrelid = %s ORDER BY polname
"""
SETTING_NAME = re.compile(r"current_setting\('([^']+)'")

SCANNED = "rows that a scan counts"
LEFT = "rows after the retention of tenant A"
SEEN = "tenant that a ping sees"
LATER_LINES = "lines after a failed task of tenant A that name its tenant"
OPEN = "sessions of tasks that hold a transaction or an advisory lock"
TASK_LOG, TENANCY = "system/observability/task_log.py", "system/tasks/tenancy.py"
FORCED = "row-level security enabled and forced"
SETTING = "policies that read another setting than that of the tenant"
JOBS_REVISION = "migrations/versions/core/core_0002_recompute_jobs.py"


@criterion("RLS-03", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    sql(
        "using-true",
        "CREATE POLICY open_read ON attribution_events FOR SELECT TO app_user USING (true)",
        landing=POLICIES,
    ),
    expect=(SCANNED, "tenant A", "got 5"),
)
@falsified_by(
    sql(
        "archive-for-everyone",
        "ALTER POLICY tenant_isolation ON attribution_events"
        " USING (occurred_at < now() - interval '1 year'"
        " OR tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)",
        landing=POLICIES,
    ),
    expect=(LEFT, EVENTS, 'got {"A": 2, "B": 1}'),
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
    expect=(SCANNED, "tenant A", "got 0"),
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
    expect=(LEFT, EVENTS, 'got {"A": 3, "B": 2}'),
)
def test_tasks_see_their_tenants_rows_only(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """With 3 rows of A and 2 of B, scans find 3 and 2, and A's retention deletes no row of B."""
    tables = [one for one in tenant_tables(own_stack.sql, sut) if one.name == EVENTS]
    own_stack.sql.query(f"TRUNCATE {EVENTS} CASCADE")
    a, b = _two_tenants(own_stack.sql, sut, ids, at_least_one(EVENTS, tables))
    _judge_role_of_the_worker(own_stack, sut, own_stack.worker)
    for tenant in (a, b, a):
        ended = own_stack.tasks.run(SCAN, {sut.tenancy.key: tenant.id})
        on = f"tenant {tenant.name}"
        if not claim("state of a scan", on=on, got=ended.state, expected="SUCCESS"):
            return
        claim(SCANNED, on=on, got=ended.value.get("scanned"), expected=tenant.rows)
    _judge_retention_spares_others(own_stack, sut, a, b)


def _two_tenants(sql: SqlProbe, sut: Sut, ids: Ids, tables: Sequence[Table]) -> list[Tenant]:
    """Insert three rows of a new tenant A and two of a new tenant B as superuser."""
    tenants = [new_tenant(ids, tables, name=name, rows=rows) for name, rows in (("A", 3), ("B", 2))]
    with sql.session() as session:
        maker = RowMaker(session, sut, tables)
        for table in tables:
            for tenant in tenants:
                maker.insert(table, tenant.id, tenant.rows_in(table))
        session.commit()
    seeded = {one.name: one.rows for one in tenants}
    premise(
        "rows that the superuser sees",
        on=EVENTS,
        got=_rows_left(sql, sut, tenants),
        expected=seeded,
    )
    return tenants


def _rows_left(sql: SqlProbe, sut: Sut, tenants: Sequence[Tenant]) -> dict[str, int]:
    rows = sql.query(f"SELECT {sut.tenancy.key}::text, count(*) FROM {EVENTS} GROUP BY 1").rows
    counted = dict(rows)
    return {one.name: counted.get(one.id, 0) for one in tenants}


def _judge_role_of_the_worker(stack: Stack, sut: Sut, worker: Worker) -> None:
    """Judge that the worker's sessions have the worker's role: others may bypass the policies."""
    report = stack.tasks.run(sut.ping.task, sut.ping.arguments).value
    sessions = stack.sql.query(
        "SELECT pid, usename FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name <> 'gateproof'"
    ).dicts()
    pids = [session["pid"] for session in sessions]
    claim(
        "sessions of the system, with that of its tasks",
        on=worker.name,
        got=pids,
        relation="contains",
        expected=report["backend_pid"],
    )
    roles = {session["usename"] for session in sessions}
    claim("roles of the system's sessions", on=worker.name, got=roles, expected=[sut.worker.role])


def _judge_retention_spares_others(stack: Stack, sut: Sut, a: Tenant, b: Tenant) -> None:
    """Make one row of each tenant two years old, and judge that A's retention deletes A's only.

    The superuser counts the rows that are left. The report of the task must agree with this count.
    """
    stack.sql.query(
        f"UPDATE {EVENTS} SET occurred_at = now() - interval '2 years' WHERE id IN"
        f" (SELECT DISTINCT ON ({sut.tenancy.key}) id FROM {EVENTS})"
    )
    ended = stack.tasks.run(RETAIN, {sut.tenancy.key: a.id, "retention_days": 30})
    if not claim("state of the retention of tenant A", got=ended.state, expected="SUCCESS"):
        return
    left = {"A": a.rows - 1, "B": b.rows}
    claim(LEFT, on=EVENTS, got=_rows_left(stack.sql, sut, (a, b)), expected=left)
    claim(
        "rows that the retention of tenant A reports as deleted",
        got=ended.value.get("deleted"),
        expected=1,
    )


@criterion(
    "RLS-06",
    needs=(
        "database",
        "celery",
        "worker",
        "ping.fail",
        "task",
        "tenancy",
        "logs",
        "logs.tenant_id",
    ),
)
@falsified_by(
    source("session-wide", DATABASE, ":tenant_id, true)", ":tenant_id, false)"),
    expect=(SEEN, "after a task of tenant A"),
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
    expect=(SEEN, "after a failed task of tenant A"),
)
@falsified_by(
    settings(
        "connected-with-a-tenant",
        {"PGOPTIONS": "-c app.current_tenant_id=00000000-0000-4000-8000-000000000001"},
    ),
    expect=(SEEN, "before any task of a tenant", "got 00000000-0000-4000-8000-000000000001"),
)
@falsified_by(
    source(
        "log-context-kept-after-a-failure",
        TASK_LOG,
        function="_end",
        body="""
            if _.get("state") != "FAILURE":
                unbind_contextvars(*TASK_FIELDS)
        """,
    ),
    expect=(LATER_LINES, "", "worker stopped"),
)
@falsified_by(
    source(
        "bound-for-ever",
        TENANCY,
        "            bound_contextvars(tenant_id=str(tenant_id)),\n",
        "            __import__('structlog').contextvars.bind_contextvars(of=str(tenant_id))"
        " and bound_contextvars(),\n",
    ),
    expect=(LATER_LINES, "", "worker stopped"),
)
@falsified_by(
    source(
        "lock-of-the-tenant-kept",
        DATABASE,
        "            set_tenant(connection, str(tenant_id))\n        yield connection",
        "            set_tenant(connection, str(tenant_id))\n"
        "            connection.execute(text('SELECT pg_advisory_lock(7)'))\n"
        "        yield connection",
    ),
    expect=(OPEN, "after a task of tenant A", "advisory lock"),
)
def test_the_tenant_ends_with_its_task(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """The pooled connection of a process has no tenant after a success, failure or retry."""
    # One process, so that every task gets the connection of the task before it.
    with own_stack.running_worker(pool=POOL_SOLO, concurrency=1, name="pooled") as worker:
        own_stack.wait_ready(worker)
        _judge_no_task_leaves_its_tenant(own_stack, sut, worker, str(ids.uuid()))


def _judge_no_task_leaves_its_tenant(stack: Stack, sut: Sut, worker: Worker, tenant: str) -> None:
    key, ping = sut.tenancy.key, sut.ping
    before = _ping(stack, sut)
    backend = before["backend_pid"]
    _judge_no_tenant(before, "before any task of a tenant", backend)
    own = _ping(stack, sut, {key: tenant})
    claim(SEEN, on="of tenant A", got=own["tenant"], expected=tenant)
    tasks: tuple[tuple[str, str, Mapping[str, Any], str], ...] = (
        ("a task", ping.task, ping.arguments, "SUCCESS"),
        ("a failed task", ping.task, ping.fail, "FAILURE"),
        ("a task that failed in SQL", RECOMPUTE, BACKWARDS, "FAILURE"),
        ("a task that raised", RECOMPUTE, {**WINDOW, "fail": True}, "FAILURE"),
        ("a retried task", ping.task, {"retry": 1}, "SUCCESS"),
    )
    for what, task, arguments, expected in tasks:
        ended = stack.tasks.run(task, {**arguments, key: tenant})
        if not claim("state of a task of tenant A", on=what, got=ended.state, expected=expected):
            return
        when = f"after {what} of tenant A"
        claim(OPEN, on=when, got=stack.sql.query(HOLDING).column(), expected=[])
        _judge_no_tenant(_ping(stack, sut), when, backend)
    _judge_log_has_no_tenant(stack, sut, worker, tenant)
    _judge_later_lines(stack, sut, worker, tenant)


def _ping(stack: Stack, sut: Sut, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    ended = stack.tasks.run(sut.ping.task, {**sut.ping.arguments, **(arguments or {})})
    premise("state of a ping", got=ended.state, expected="SUCCESS")
    report: Mapping[str, Any] = ended.value
    return report


def _judge_no_tenant(report: Mapping[str, Any], when: str, backend: int) -> None:
    """Judge that a ping saw no tenant, on the connection that the task before it used."""
    claim(SEEN, on=when, got=report["tenant"] or "none", expected="none")
    # Only the pooled connection of the task before can show what it left.
    premise(
        "connection of a ping, as a backend",
        on=when,
        got=report["backend_pid"],
        expected=backend,
    )


def _judge_log_has_no_tenant(stack: Stack, sut: Sut, worker: Worker, tenant: str) -> None:
    """Judge that the tenant does not stay in the log context, as it could after a task."""
    names = sut.logs
    task_id = stack.tasks.run(sut.ping.task, sut.ping.arguments).task_id
    fields: dict[str, Any] = {names.message: names.success, names.task_id: task_id}
    lines = worker.wait_log(**fields)
    found = [line.get(names.tenant_id) for line in lines.matching(**fields)]
    claim("tenant in the log line of a last ping", got=found, expected=[None])
    own = lines.matching(**{names.message: names.success, names.tenant_id: tenant})
    claim("log lines of tenant A", got=len(own), relation="at_least", expected=1)


def _judge_later_lines(stack: Stack, sut: Sut, worker: Worker, tenant: str) -> None:
    """Judge the lines of the worker's end, whose last task failed, that they name no tenant."""
    names = sut.logs
    failed = stack.tasks.run(RECOMPUTE, {**WINDOW, "fail": True, sut.tenancy.key: tenant}).task_id
    fields: dict[str, Any] = {names.message: names.failure, names.task_id: failed}
    worker.wait_log(**fields)
    worker.stop()
    entries = worker.log().entries()
    last = next(place for place, line in enumerate(entries) if fields.items() <= line.items())
    later = entries[last + 1 :]
    named = [line.get(names.message) for line in later if tenant in line.values()]
    claim(LATER_LINES, got=named, expected=[], over=later)


@criterion("RLS-13", needs=("database", "tenancy"))
@falsified_by(
    migration(
        "force-forgotten",
        JOBS_REVISION,
        f"ALTER TABLE {JOBS} FORCE ROW LEVEL SECURITY;\n",
        landing=f"SELECT relforcerowsecurity FROM pg_class WHERE relname = '{JOBS}'",
    ),
    expect=(FORCED, JOBS, "got true, false"),
)
@falsified_by(
    migration(
        "misspelt-setting",
        JOBS_REVISION,
        "current_setting('app.current_tenant_id', true)",
        "current_setting('app.curent_tenant_id', true)",
        landing="SELECT pg_get_expr(polqual, polrelid) FROM pg_policy"
        f" WHERE polrelid = '{JOBS}'::regclass",
    ),
    expect=(SETTING, JOBS, "got tenant_isolation"),
)
def test_migrations_protect_every_table_with_a_tenant(stack: Stack, sut: Sut) -> None:
    """The revisions force row-level security, and no policy reads a setting that nothing sets."""
    tables = [
        one
        for one in tables_with_key(stack.sql, sut)
        if not any(map(one.is_named, sut.tenancy.exceptions))
    ]
    for table in at_least_one("tables with a tenant", tables):
        flags = stack.sql.query(FLAGS, (table.oid,)).rows[0]
        claim(FORCED, on=table.name, got=flags, expected=(True, True))
        expressions = stack.sql.query(EXPRESSIONS, (table.oid,)).rows
        wrong = [
            name
            for name, text in expressions
            if set(SETTING_NAME.findall(text)) - {sut.tenancy.guc}
        ]
        claim(SETTING, on=table.name, got=wrong, expected=[], over=expressions)
