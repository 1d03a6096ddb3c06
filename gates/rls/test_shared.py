"""Gate rls: messages and results, which Celery keeps without a tenant.

A worker reads every message of its queues, and anyone who waits for a result reads it with the
worker's role: no policy can separate tenants there. So the claim is about the limits of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from gateproof import (
    Fault,
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by_each,
    identifier,
    inject,
    literal,
    premise,
    sql,
)

Scope = Literal["database", "server"]
Declared = pytest.MarkDecorator
Expect = tuple[str, str, str]

QUEUES, MESSAGES = "kombu_queue", "kombu_message"
LATER_S = 600
LANDING = (
    "SELECT (SELECT array_agg(relname || relacl::text ORDER BY relname) FROM pg_class WHERE oid IN"
    " ({messages}::regclass, {results}::regclass, to_regclass('gateproof_results'))),"
    " (SELECT array_agg(attname || attacl::text) FROM pg_attribute"
    " WHERE attrelid = {messages}::regclass),"
    " pg_has_role({other}, {worker}, 'MEMBER')"
)

PRIVILEGE_NAMES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")

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
    FROM roles, over, unnest(%(names)s::text[]) AS privilege
    WHERE (has_table_privilege(rolname, relation, privilege)
            OR privilege IN ('SELECT', 'INSERT', 'UPDATE')
                AND has_any_column_privilege(rolname, relation, privilege)
            OR pg_has_role(rolname, %(worker)s, 'MEMBER'))
        AND NOT (relation = %(messages)s::regclass AND privilege = 'INSERT')
    ORDER BY 1, 2, 3
"""

# A bytea is in JSON as hexadecimal digits.
HOLDING = """
    SELECT key FROM {results} r, jsonb_each_text(to_jsonb(r))
    WHERE task_id = %(id)s AND (position(%(value)s IN value) > 0
        OR position(encode(convert_to(%(value)s, 'UTF8'), 'hex') IN value) > 0)
    ORDER BY 1
"""


HELD_BY = "roles other than the worker's that have the privilege and must not have it"
HOLDS = "columns of the result of a failed task that hold its argument"


def shared_tables(sut: Sut) -> list[str]:
    """Return the tables with messages and results: the broker's, without that of the queues."""
    others = [one for one in sut.broker.tables if bare(one) != QUEUES]
    return list(dict.fromkeys((MESSAGES, sut.broker.results, *others)))


def bare(table: str) -> str:
    """Return the name of a table without its schema and quotes."""
    return table.replace('"', "").rpartition(".")[2]


def other_roles(sut: Sut) -> list[str]:
    """Return the application roles other than the worker's."""
    return [one for one in sut.application_roles if one != sut.value_of("worker.role")]


def granted(name: str, statement: str, on: str, *, scope: Scope = "database") -> Declared:
    """Return the falsifier that a role other than the worker's gets a privilege.

    Args:
        name: the name of the fault.
        statement: the change; ``{other}`` is the last role other than the worker's, ``{worker}``
            that of the worker, ``{results}`` the table of results.
        on: the object of the finding, with ``{results}``.
        scope: as that of a fault.

    """

    def make(sut: Sut, other: str) -> tuple[Fault, Expect]:
        worker, results = str(sut.value_of("worker.role")), sut.broker.results
        filled = statement.format(
            other=identifier(other), worker=identifier(worker), results=results
        )
        landing = LANDING.format(
            messages=literal(MESSAGES),
            results=literal(results),
            other=literal(other),
            worker=literal(worker),
        )
        fault = sql(name, filled, landing=landing, role="superuser", scope=scope)
        return fault, (HELD_BY, on.format(results=results), other)

    return falsified_by_each(lambda sut: other_roles(sut)[-1:], make)


@criterion(
    "RLS-12",
    needs=(
        "database",
        "celery",
        "broker.kind=sqla",
        "broker.tables",
        "worker",
        "ping.fail",
        "task",
        "tenancy",
    ),
)
@granted("readable-results", "GRANT SELECT ON {results} TO {other}", "{results}/SELECT")
@granted(
    "one-column-of-messages",
    f"GRANT SELECT (payload) ON {MESSAGES} TO {{other}}",
    f"{MESSAGES}/SELECT",
)
@granted("deletes-only", "GRANT DELETE ON {results} TO {other}", "{results}/DELETE")
@granted(
    "view-of-results",
    "CREATE VIEW gateproof_results AS SELECT task_id, result FROM {results};"
    " GRANT SELECT ON gateproof_results TO {other}",
    "gateproof_results/SELECT",
)
@granted(
    "member-of-the-worker",
    "ALTER ROLE {other} NOINHERIT; GRANT {worker} TO {other}",
    f"{MESSAGES}/SELECT",
    scope="server",
)
@falsified_by_each(
    lambda sut: [sut.broker.results],
    lambda _, results: (
        inject("arguments-kept", "configure", result_extended=True),
        (HOLDS, results, "kwargs"),
    ),
)
def test_messages_and_results_are_the_workers_alone(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """No other role reads or changes them, directly or through a view, except to publish.

    The result of a failed task holds no argument of the task.
    """
    stack, ping, role = own_stack, sut.ping, sut.worker.role
    hidden = str(ids.uuid())
    premise("the worker runs", got=stack.worker.alive, expected=True)
    failing = {**ping.arguments, **_with_hidden(ping.fail, hidden)}
    failed = stack.tasks.run(ping.task, failing)
    premise("state of a task that must fail", got=failed.state, expected="FAILURE")
    stack.tasks.publish(ping.task, (), ping.arguments, countdown=LATER_S)
    results, shared = sut.broker.results, shared_tables(sut)
    for table in (MESSAGES, results):
        rows = stack.sql.query(f"SELECT count(*) FROM {table}", role=role).scalar()
        premise("rows that the worker reads", on=table, got=rows, relation="at_least", expected=1)

    found = stack.sql.query(
        PRIVILEGES,
        {
            "tables": shared,
            "names": list(PRIVILEGE_NAMES),
            "trusted": [role, sut.database.owner],
            "worker": role,
            "messages": MESSAGES,
        },
    ).rows
    for relation in sorted({*shared, *(row[1] for row in found)}):
        for privilege in PRIVILEGE_NAMES:
            roles = [row[0] for row in found if row[1:] == (relation, privilege)]
            claim(HELD_BY, on=f"{relation}/{privilege}", got=roles, expected=[])
    holding = HOLDING.format(results=results)
    columns = stack.sql.query(holding, {"id": failed.task_id, "value": hidden}).column()
    claim(HOLDS, on=results, got=columns, expected=[])


def _with_hidden(arguments: Mapping[str, Any], hidden: str) -> dict[str, Any]:
    """Return the arguments of a ping that fails, with a text in place of what is true in them.

    The text is as true as the value was; a further argument might be none that the task has.
    """
    found = [name for name, value in arguments.items() if value is True]
    premise("arguments of ping.fail that are true", got=len(found), relation="at_least", expected=1)
    return {**arguments, **dict.fromkeys(found, hidden)}
