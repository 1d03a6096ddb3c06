"""Gate rls: messages and results, which Celery keeps without a tenant.

A worker reads every message of its queues, and anyone who waits for a result reads it with the
worker's role: no policy can separate tenants there. So the claim is about the limits of it.
"""

from __future__ import annotations

from gateproof import Ids, Stack, Sut, criterion, falsified_by, premise, source, sql

MESSAGES, RESULTS, GROUPS = "kombu_message", "celery_taskmeta", "celery_tasksetmeta"
SHARED = (MESSAGES, RESULTS, GROUPS)
LATER_S = 600
LANDING = "SELECT relname, relacl FROM pg_class WHERE relname = ANY(ARRAY['kombu_message',"
LANDING += " 'celery_taskmeta', 'recent_results'])"

# Publishing needs INSERT on messages only. A member of the worker's role can become it.
PRIVILEGES = """
    WITH RECURSIVE over (relation) AS (
        SELECT c.oid FROM pg_class c WHERE c.oid = ANY(%(tables)s::regclass[])
        UNION
        SELECT w.ev_class FROM over JOIN pg_depend d ON d.refobjid = over.relation
            AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite w ON w.oid = d.objid
    ), roles AS (
        SELECT rolname FROM pg_roles
        WHERE NOT rolsuper AND rolname NOT LIKE 'pg\\_%%' AND rolname <> ALL(%(trusted)s)
    )
    SELECT rolname, relation::regclass::text AS relation, privilege
    FROM roles, over, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
    WHERE (has_table_privilege(rolname, relation, privilege)
            OR privilege IN ('SELECT', 'INSERT', 'UPDATE')
                AND has_any_column_privilege(rolname, relation, privilege)
            OR pg_has_role(rolname, %(worker)s, 'MEMBER'))
        AND NOT (relation = %(messages)s::regclass AND privilege = 'INSERT')
    ORDER BY 1, 2, 3
"""

# A bytea is in JSON as hexadecimal digits.
HOLDING = f"""
    SELECT key FROM {RESULTS} r, jsonb_each_text(to_jsonb(r))
    WHERE task_id = %(id)s AND (position(%(value)s IN value) > 0
        OR position(encode(convert_to(%(value)s, 'UTF8'), 'hex') IN value) > 0)
    ORDER BY 1
"""


@criterion("RLS-12", needs=("database", "celery", "worker", "ping.fail", "task", "tenancy"))
@falsified_by(
    sql("readers-results", f"GRANT SELECT ON {RESULTS} TO app_ro", landing=LANDING),
    expect=f"SELECT on {RESULTS}: got app_ro",
)
@falsified_by(
    sql(
        "one-column-of-messages",
        f"GRANT SELECT (payload) ON {MESSAGES} TO app_rw",
        landing=f"SELECT attname, attacl FROM pg_attribute WHERE attrelid = '{MESSAGES}'::regclass",
    ),
    expect=f"SELECT on {MESSAGES}: got app_rw",
)
@falsified_by(
    sql("deletes-only", f"GRANT DELETE ON {RESULTS} TO app_ro", landing=LANDING),
    expect=f"DELETE on {RESULTS}: got app_ro",
)
@falsified_by(
    sql(
        "view-of-results",
        f"CREATE VIEW recent_results AS SELECT task_id, result FROM {RESULTS};"
        " GRANT SELECT ON recent_results TO app_ro",
        landing=LANDING,
    ),
    expect="SELECT on recent_results: got app_ro",
)
@falsified_by(
    sql(
        "member-of-the-worker",
        "ALTER ROLE app_ro NOINHERIT; GRANT app_user TO app_ro",
        landing="SELECT pg_has_role('app_ro', 'app_user', 'MEMBER')",
        role="superuser",
        scope="server",
    ),
    expect=f"SELECT on {MESSAGES}: got app_ro",
)
@falsified_by(
    source(
        "arguments-kept",
        "system/app.py",
        '"result_serializer": "json",',
        '"result_serializer": "json",\n        "result_extended": True,',
    ),
    expect=f"{RESULTS} of a task that failed: got its argument",
)
def test_messages_and_results_are_the_workers_alone(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """No other role reads or changes them, directly or through a view, except to publish.

    The result of a failed task holds no argument of the task.
    """
    stack, ping, worker_role = own_stack, sut.ping, sut.worker.role
    hidden = str(ids.uuid())
    premise("the worker runs", got=stack.worker.alive, expected=True)
    failed = stack.tasks.run(ping.task, {**ping.arguments, **ping.fail, sut.tenancy.key: hidden})
    premise("state of a task that must fail", got=failed.state, expected="FAILURE")
    stack.tasks.publish(ping.task, (), ping.arguments, countdown=LATER_S)
    for table in (MESSAGES, RESULTS):
        rows = stack.sql.query(f"SELECT count(*) FROM {table}", role=worker_role).scalar()
        premise("rows that the worker reads", on=table, got=rows, relation="at_least", expected=1)

    found = stack.sql.query(
        PRIVILEGES,
        {
            "tables": list(SHARED),
            "trusted": [worker_role, sut.database.owner],
            "worker": worker_role,
            "messages": MESSAGES,
        },
    ).rows
    findings = [
        f"{privilege} on {relation}: got {role}, expected the worker's role alone"
        for role, relation, privilege in found
    ]
    assert not findings, "; ".join(findings)
    columns = stack.sql.query(HOLDING, {"id": failed.task_id, "value": hidden}).column()
    assert not columns, (
        f"{RESULTS} of a task that failed: got its argument in {', '.join(columns)}, expected none"
    )
