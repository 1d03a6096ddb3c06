"""Gate rls: messages and results, which Celery keeps without a tenant.

A worker reads every message of its queues, and anyone who waits for a result reads it with the
worker's role: no policy can separate tenants there. So the claim is about the limits of it.
"""

from __future__ import annotations

from typing import Literal

import pytest

from gateproof import (
    Fault,
    Ids,
    Stack,
    Sut,
    criterion,
    falsified_by,
    falsified_by_each,
    literal,
    premise,
    source,
    sql,
)

from .tenants import with_roles

Scope = Literal["database", "server"]
Declared = pytest.MarkDecorator

MESSAGES, RESULTS, GROUPS = "kombu_message", "celery_taskmeta", "celery_tasksetmeta"
SHARED = (MESSAGES, RESULTS, GROUPS)
LATER_S = 600
LANDING = (
    "SELECT (SELECT array_agg(relname || relacl::text ORDER BY relname) FROM pg_class WHERE relname"
    f" IN ('{MESSAGES}', '{RESULTS}', 'gateproof_results')), (SELECT array_agg(attname ||"
    f" attacl::text) FROM pg_attribute WHERE attrelid = '{MESSAGES}'::regclass)"
)

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


PRIVILEGE = "privilege that the worker's role has alone"


def granted(name: str, statement: str, expect: str, *, scope: Scope = "database") -> Declared:
    """Return the falsifier that a statement with roles of the description gives a privilege."""

    def make(sut: Sut, _: str) -> tuple[Fault, str]:
        filled, last = with_roles(sut, statement), literal(sut.role_names["last"])
        member = f"pg_has_role({last}, {literal(sut.role_names['role'])}, 'MEMBER')"
        landing = f"{LANDING}, {member}"
        fault = sql(name, filled, landing=landing, role="superuser", scope=scope)
        return fault, f"{PRIVILEGE}: {with_roles(sut, expect)}: got it"

    return falsified_by_each(lambda _: [name], make)


@criterion("RLS-12")
@granted("readers-results", f"GRANT SELECT ON {RESULTS} TO {{last}}", f"{{last}}/{RESULTS}/SELECT")
@granted(
    "one-column-of-messages",
    f"GRANT SELECT (payload) ON {MESSAGES} TO {{second}}",
    f"{{second}}/{MESSAGES}/SELECT",
)
@granted("deletes-only", f"GRANT DELETE ON {RESULTS} TO {{last}}", f"{{last}}/{RESULTS}/DELETE")
@granted(
    "view-of-results",
    f"CREATE VIEW gateproof_results AS SELECT task_id, result FROM {RESULTS};"
    " GRANT SELECT ON gateproof_results TO {last}",
    "{last}/gateproof_results/SELECT",
)
@granted(
    "member-of-the-worker",
    "ALTER ROLE {last} NOINHERIT; GRANT {role} TO {last}",
    f"{{last}}/{MESSAGES}/SELECT",
    scope="server",
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
    stack, ping, role = own_stack, sut.ping, sut.worker.role
    hidden = str(ids.uuid())
    premise("the worker runs", got=stack.worker.alive, expected=True)
    failed = stack.tasks.run(ping.task, {**ping.arguments, **ping.fail, sut.tenancy.key: hidden})
    premise("state of a task that must fail", got=failed.state, expected="FAILURE")
    stack.tasks.publish(ping.task, (), ping.arguments, countdown=LATER_S)
    for table in (MESSAGES, RESULTS):
        rows = stack.sql.query(f"SELECT count(*) FROM {table}", role=role).scalar()
        premise("rows that the worker reads", on=table, got=rows, relation="at_least", expected=1)

    found = stack.sql.query(
        PRIVILEGES,
        {
            "tables": list(SHARED),
            "trusted": [role, sut.database.owner],
            "worker": role,
            "messages": MESSAGES,
        },
    ).rows
    findings = [
        f"{PRIVILEGE}: {role}/{relation}/{privilege}: got it, expected it not"
        for role, relation, privilege in found
    ]
    assert not findings, "; ".join(findings)
    columns = stack.sql.query(HOLDING, {"id": failed.task_id, "value": hidden}).column()
    assert not columns, (
        f"{RESULTS} of a task that failed: got its argument in {', '.join(columns)}, expected none"
    )
