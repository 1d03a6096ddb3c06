"""Gate dlq: the dead-letter row of a failing task."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kombu.utils import json as kombu_json

from gateproof import (
    Ids,
    Stack,
    Sut,
    TaskResult,
    at_least_one,
    claim,
    criterion,
    premise,
    wait_until,
)

from ..described import (
    AGAIN,
    AGAIN_DECLARED,
    LOST,
    POLICIES,
    falsified_in_rows,
    falsified_in_sql,
    other_statuses,
)
from ..endings import ROW_AFTER_LINE_S, wait_for_failure_lines
from ..tenant import unused_tenant
from .contract import has
from .rows import (
    ROWS_OF_TASK,
    DeadLetter,
    Failing,
    fail,
    failing_ping,
    failing_task,
    only_row,
    rows_of,
    typed,
    wait_for_rows,
)

OWN = "task of the system that fails"
OF_TYPES = "task whose arguments have many types"
GLOBAL_TASK = "task without a tenant"
VALUE_IN_ROW = "value in the dead-letter row"
VALUE_IN_KWARGS = "value in the keyword arguments"
LARGE_TEXT = "bytes of the large text in the keyword arguments"
GLOBAL_ROWS = "dead-letter rows without a tenant that the session sees"
OWN_ROWS = "own dead-letter rows that the tenant sees"
FOREIGN_ROWS = "dead-letter rows of the other tenant that the tenant sees"
"""Names of claims that falsifiers predict."""

MEGABYTE = 2**20
BIG = 2**53 + 1
"""A number that a float does not keep."""

AMOUNT = "1234567890.123456789012345678901234567890"
"""More digits than a float keeps."""

# The digest and the length of a large payload, and the arguments without it.
_LONG = """
    SELECT {args}::text, octet_length({kwargs}::jsonb #>> %(path)s::text[]),
        encode(sha256(convert_to({kwargs}::jsonb #>> %(path)s::text[], 'UTF8')), 'hex'),
        ({kwargs}::jsonb #- %(path)s::text[])::text
    FROM {table} WHERE {task_id} = %(task_id)s
"""

_LOGINS = """
    SELECT rolname FROM pg_roles
    WHERE rolcanlogin AND NOT rolsuper AND rolname <> ALL (%s) ORDER BY 1
"""
# Relations that can show a row; Celery's own tables have the same column for results.
_WITH_TASK_ID = """
    SELECT c.relname FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %s AND a.attnum > 0
    WHERE c.relkind IN ('r', 'v', 'm', 'p') AND pg_table_is_visible(c.oid)
        AND c.relnamespace <> 'pg_catalog'::regnamespace
        AND has_table_privilege(%s, c.oid, 'SELECT') AND c.relname <> ALL (%s)
    ORDER BY 1
"""


# --- one failure, one row -----------------------------------------------------------------


@criterion(
    "DLQ-03",
    needs=(
        "database",
        "celery",
        "worker",
        "ping.fail",
        "ping.fail_error",
        "ping.retry",
        "task",
        "tenancy",
        "dead_letters.statuses",
        "logs or worker.probe=inject",
    ),
)
@falsified_in_rows("row-lost", LOST, expect=(ROWS_OF_TASK, "{ping}", "got 0"))
@falsified_in_rows(
    "row-written-again",
    AGAIN,
    when="AFTER INSERT",
    declared=AGAIN_DECLARED,
    expect=(ROWS_OF_TASK, "{ping}", "got 2"),
)
@falsified_in_rows(
    "taken-up-at-once",
    "NEW.{c[status]} := '{each}'; RETURN NEW;",
    each=other_statuses,
    expect=(VALUE_IN_ROW, "{ping}/status", "got {each}, expected {new}"),
)
@falsified_in_rows(
    "arguments-emptied",
    "NEW.{c[kwargs]} := '{{}}'; RETURN NEW;",
    expect=(VALUE_IN_ROW, "{ping}/keyword arguments", "got {{}}"),
)
def test_failing_task_leaves_exactly_one_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """A ping that fails after a retry leaves one pending row; one that succeeds leaves none."""
    tenant = unused_tenant(stack, ids)
    kwargs = {**sut.ping.arguments, **sut.ping.retry, **sut.ping.fail, sut.tenancy.key: tenant}
    result = fail(stack, sut.ping.task, kwargs)
    wait_for_rows(stack, [result.task_id], tenant_id=str(tenant))
    # After another task of the same worker, everything else that the failure writes is written.
    plain = {**sut.ping.arguments, sut.tenancy.key: tenant}
    done = stack.tasks.run(sut.ping.task, plain)
    premise("state of a plain ping", got=done.state, expected="SUCCESS")
    row = _only_row(stack, sut.ping.task, result, str(tenant), where=sut.ping.task)
    if row is None:
        return
    _claim_values(row, sut, sut.ping.task, result, kwargs, where=sut.ping.task)
    _claim_exception(row, sut.ping.task, sut.ping.fail_error)


@criterion(
    "DLQ-04",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "tenancy",
        "dead_letters.statuses",
        "logs or worker.probe=inject",
    ),
)
@falsified_in_rows(
    "message-of-another-failure",
    "NEW.{c[error_message]} := 'failed'; RETURN NEW;",
    expect=(VALUE_IN_ROW, f"{OWN}/message", "got failed"),
)
@falsified_in_rows(
    "named-after-the-module",
    "NEW.{c[task_name]} := regexp_replace(NEW.{c[task_name]}, '^.*[.]', ''); RETURN NEW;",
    expect=(VALUE_IN_ROW, f"{OWN}/task name"),
)
@falsified_in_rows("row-lost", LOST, expect=(ROWS_OF_TASK, OWN, "got 0"))
def test_own_failing_task_leaves_exactly_one_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """A task of the system that is asked to fail leaves one pending row with its arguments."""
    failing, tenant = failing_task(sut), unused_tenant(stack, ids)
    kwargs = {**failing.sample, **failing.kwargs, sut.tenancy.key: tenant}
    if failing.any_value:
        kwargs[failing.any_value] = ids.slug("value")
    result = fail(stack, failing.task, kwargs)
    wait_for_rows(stack, [result.task_id], tenant_id=str(tenant))
    done = stack.tasks.run(sut.ping.task, sut.ping.arguments)
    premise("state of a plain ping", got=done.state, expected="SUCCESS")
    row = _only_row(stack, failing.task, result, str(tenant), where=OWN)
    if row is None:
        return
    _claim_values(row, sut, failing.task, result, kwargs, where=OWN)
    _claim_exception(row, OWN, failing.error)
    if failing.message:
        got = row.error_message
        claim("message that the task raised", on=OWN, got=got, expected=failing.message)


def _only_row(
    stack: Stack, task: str, result: TaskResult, tenant: str | None, *, where: str
) -> DeadLetter | None:
    """Claim that there is one row with the task's name, and return it; None without exactly one."""
    row = only_row(rows_of(stack, [result.task_id], tenant_id=tenant), where)
    if row is not None:
        claim(VALUE_IN_ROW, on=f"{where}/task name", got=row.task_name, expected=task)
    return row


def _claim_exception(row: DeadLetter, where: str, expected: str) -> None:
    raised = row.exception_class.rpartition(".")[2]
    claim("exception that the task raised", on=where, got=raised, expected=expected)


def _claim_values(
    row: DeadLetter,
    sut: Sut,
    task: str,
    result: TaskResult,
    kwargs: Mapping[str, Any],
    *,
    where: str,
) -> None:
    """Compare a row with what was published, and with the failure in the result."""
    tenant = kwargs.get(sut.tenancy.key)
    stored = result.value if isinstance(result.value, dict) else {}
    got: dict[str, tuple[Any, Any]] = {
        "task id": (row.task_id, result.task_id),
        "tenant": (row.tenant_id, str(tenant)),
        "positional arguments": (row.sent_args(), []),
        "keyword arguments": (row.sent_kwargs(), kwargs),
        "message": (row.error_message, stored.get("message")),
        "exception": (row.exception_class.rpartition(".")[2], stored.get("exception")),
        "status": (row.status, sut.dead_letters.new),
    }
    if has(sut, "queue"):
        got["queue"] = (row.queue, sut.queue_of(task))
    for what, (seen, expected) in got.items():
        claim(VALUE_IN_ROW, on=f"{where}/{what}", got=typed(seen), expected=typed(expected))
    claim(
        "characters of the message in the dead-letter row",
        on=where,
        got=len(row.error_message or ""),
        expected=1,
        relation="at_least",
    )


# --- arguments are preserved ------------------------------------------------------------------


@criterion(
    "DLQ-05",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "dead_letters",
        "logs or worker.probe=inject",
    ),
)
@falsified_in_rows(
    "numbers-as-floats",
    f"NEW.{{c[kwargs]}} := replace(NEW.{{c[kwargs]}}::text, '{BIG}', '{BIG - 1}'); RETURN NEW;",
    expect=(VALUE_IN_KWARGS, f"{OF_TYPES}/nested"),
)
@falsified_in_rows(
    "large-text-cut",
    "NEW.{c[kwargs]} := replace(NEW.{c[kwargs]}::text, '0000001\\n', ''); RETURN NEW;",
    expect=(LARGE_TEXT, OF_TYPES, f"got {MEGABYTE - 8}"),
)
@falsified_in_rows(
    "positional-arguments-dropped",
    "NEW.{c[args]} := '[]'; RETURN NEW;",
    expect=("positional arguments", OF_TYPES, "got none"),
)
def test_arguments_survive_with_their_types(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Positional and keyword arguments of every type are read back as they were published."""
    failing = failing_task(sut)
    takes = [bool(failing.any_value), failing.positional]
    premise("task that takes any value, by name and by position", got=takes, expected=[True, True])
    start = dt.datetime(2026, 1, 1, 2, 3, 4, 567890, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    args = [ids.uuid(), start, start + dt.timedelta(days=1)]
    values = {
        "id": ids.uuid(),
        "moment": dt.datetime(2026, 2, 28, 23, 59, 59, 1, tzinfo=dt.UTC),
        "amount": Decimal(AMOUNT),
        "zeros": Decimal("1.10"),
        "text": 'Grüße, 漢字, עברית, 👩‍💻, \u202e, "quotes" and \\',
        "bytes": b"\x00\xff\xfe plain",
        "words": "Grüße".encode(),
        "nested": [{"id": ids.uuid(), "none": None, "yes": True, "number": BIG}],
    }
    large = "".join(f"{number:07d}\n" for number in range(MEGABYTE // 8))
    kwargs = {**failing.kwargs, failing.any_value: {**values, "large": large}}
    result = fail(stack, failing.task, kwargs, args)

    found = _read_long(stack, failing, result.task_id)
    if found is None:
        return
    kept_args, length, digest, kept = found
    claim(LARGE_TEXT, on=OF_TYPES, got=length, expected=MEGABYTE)
    claim(
        "SHA-256 of the large text in the keyword arguments",
        on=OF_TYPES,
        got=digest,
        expected=hashlib.sha256(large.encode()).hexdigest(),
    )
    for name, value in values.items():
        got = _member(_member(kept, failing.any_value), name)
        claim(
            VALUE_IN_KWARGS,
            on=f"{OF_TYPES}/{name}",
            got=_spelled(got),
            expected=_spelled(value),
        )
    for name, value in failing.kwargs.items():
        got = _member(kept, name)
        claim(VALUE_IN_KWARGS, on=f"{OF_TYPES}/{name}", got=typed(got), expected=typed(value))
    claim(
        "positional arguments",
        on=OF_TYPES,
        got=typed(_in_utc(kept_args)),
        expected=typed(_in_utc(args)),
    )


def _spelled(value: Any) -> Any:
    """Return a value that differs for equal ones of other types or spellings (1.1, 1.10)."""
    if isinstance(value, Mapping):
        return {key: _spelled(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_spelled(inner) for inner in value]
    return repr(value)


def _in_utc(values: Any) -> Any:
    """Return arguments with each moment in UTC: a moment may have another offset in a row."""
    if not isinstance(values, list):
        return values
    return [
        one.astimezone(dt.UTC) if isinstance(one, dt.datetime) and one.tzinfo else one
        for one in values
    ]


def _member(value: Any, name: str) -> Any:
    """Return the value of a key; None if there is no mapping or no key."""
    return value.get(name) if isinstance(value, Mapping) else None


def _read_long(stack: Stack, failing: Failing, task_id: str) -> tuple[Any, int, str, Any] | None:
    """Return args, the large text's length and digest, and the other kwargs; None without a row."""
    wait_for_failure_lines(stack, [task_id])
    described = stack.sut.dead_letters
    names = {name: described.column(name) for name in ("args", "kwargs", "task_id")}
    statement = _LONG.format(table=described.table, **names)
    path = [failing.any_value, "large"]
    rows = wait_until(
        lambda: stack.sql.query(statement, {"task_id": task_id, "path": path}).rows,
        deadline_s=ROW_AFTER_LINE_S,
    )
    if not claim(ROWS_OF_TASK, on=OF_TYPES, got=len(rows), expected=1):
        return None
    args, length, digest, kwargs = rows[0]
    return kombu_json.loads(args), length, digest, kombu_json.loads(kwargs)


# --- who can read a row -----------------------------------------------------------------


@criterion(
    "DLQ-06",
    needs=(
        "database",
        "celery",
        "worker",
        "ping.fail",
        "task",
        "tenancy",
        "dead_letters.operator",
        "logs or worker.probe=inject",
    ),
)
@falsified_in_sql(
    "tenant-demanded",
    "CREATE POLICY tenant_demanded ON {table} AS RESTRICTIVE FOR INSERT"
    " WITH CHECK ({c[tenant_id]} IS NOT NULL)",
    landing=POLICIES,
    expect=(ROWS_OF_TASK, GLOBAL_TASK, "got 0"),
)
@falsified_in_sql(
    "global-for-tenants",
    "CREATE POLICY global_read ON {table} FOR SELECT TO {worker} USING ("
    "{c[tenant_id]} IS NULL AND current_setting('{guc}', true) <> '')",
    landing=POLICIES,
    target="{table}",
    expect=(GLOBAL_ROWS, "{worker}/{table}/a tenant", "got 1"),
)
def test_global_failures_are_captured_and_no_tenants(stack: Stack, sut: Sut, ids: Ids) -> None:
    """A task without a tenant leaves one row without a tenant, which no tenant's session sees."""
    result = failing_ping(stack)
    rows = wait_for_rows(stack, [result.task_id])
    row = only_row(rows, GLOBAL_TASK)
    if row is None:
        return
    claim(VALUE_IN_ROW, on=f"{GLOBAL_TASK}/tenant", got=row.tenant_id, expected=None)
    claim(VALUE_IN_ROW, on=f"{GLOBAL_TASK}/task name", got=row.task_name, expected=sut.ping.task)
    seen = _seen_by(stack, sut.dead_letters.operator, None).count(row.task_id)
    premise("global rows that an operator sees", on=sut.dead_letters.operator, got=seen, expected=1)
    own = failing_ping(stack, **{sut.tenancy.key: unused_tenant(stack, ids)})
    owned = wait_for_rows(stack, [own.task_id])
    premise(ROWS_OF_TASK, on="task with a tenant", got=len(owned), relation="at_least", expected=1)
    owner, role, table = owned[0].tenant_id, sut.worker.role, sut.dead_letters.table
    for tenant, who in ((None, "no tenant"), ("", "an empty tenant"), (owner, "a tenant")):
        count = _seen_by(stack, role, tenant).count(row.task_id)
        claim(GLOBAL_ROWS, on=f"{role}/{table}/{who}", got=count, expected=0)


@criterion(
    "DLQ-07",
    needs=(
        "database",
        "celery",
        "worker",
        "ping.fail",
        "task",
        "tenancy",
        "dead_letters",
        "logs or worker.probe=inject",
    ),
)
@falsified_in_sql(
    "reads-all",
    "CREATE POLICY reads_all ON {table} FOR SELECT TO {worker} USING (true)",
    landing=POLICIES,
    target="{table}",
    expect=(FOREIGN_ROWS, "{worker}/{table}/tenant A", "got 1"),
)
@falsified_in_sql(
    "other-setting",
    "CREATE POLICY other_setting ON {table} AS RESTRICTIVE FOR SELECT TO {worker} USING ("
    "{c[tenant_id]}::text = nullif(current_setting('gateproof.other', true), ''))",
    landing=POLICIES,
    target="{table}",
    expect=(OWN_ROWS, "{worker}/{table}/tenant A", "got 0"),
)
def test_tenant_sees_its_own_rows_only(stack: Stack, sut: Sut, ids: Ids) -> None:
    """With two rows of tenant A and one of B, each tenant sees its own, and other sessions none."""
    given = {name: unused_tenant(stack, ids) for name in ("A", "B")}
    tenants = {name: str(tenant) for name, tenant in given.items()}
    sent: dict[str, list[str]] = {"A": [], "B": []}
    for name in ("A", "A", "B"):
        result = failing_ping(stack, **{sut.tenancy.key: given[name]})
        sent[name].append(result.task_id)
    everything = [*sent["A"], *sent["B"]]
    there = {row.task_id: row.tenant_id for row in wait_for_rows(stack, everything)}
    for name, task_ids in sent.items():
        for number, task_id in enumerate(task_ids, 1):
            claim(
                VALUE_IN_ROW,
                on=f"tenant {name}/row {number}/tenant",
                got=there.get(task_id),
                expected=tenants[name],
            )
    role, table = sut.worker.role, sut.dead_letters.table
    for name, other in (("A", "B"), ("B", "A")):
        who, rows = f"{role}/{table}/tenant {name}", len(sent[name])
        seen = _seen_by(stack, role, tenants[name])
        claim(OWN_ROWS, on=who, got=len(set(sent[name]) & set(seen)), expected=rows)
        claim(FOREIGN_ROWS, on=who, got=len(set(sent[other]) & set(seen)), expected=0)
        claim("dead-letter rows that the tenant sees", on=who, got=len(seen), expected=rows)
    for tenant, who in (
        (None, "no tenant"),
        ("", "an empty tenant"),
        (str(unused_tenant(stack, ids)), "another tenant"),
    ):
        count = len(_seen_by(stack, role, tenant))
        where = f"{role}/{table}/{who}"
        claim("dead-letter rows that the session sees", on=where, got=count, expected=0)


@criterion(
    "DLQ-14",
    needs=(
        "database",
        "celery",
        "broker.kind=sqla",
        "broker.tables",
        "worker",
        "ping.fail",
        "task",
        "tenancy",
        "dead_letters.operator",
        "dead_letters.reader",
        "logs or worker.probe=inject",
    ),
)
@falsified_in_sql(
    "nobody-sees-nobodys",
    "CREATE POLICY unowned_read ON {table} FOR SELECT TO {worker} USING ("
    "{c[tenant_id]} IS NULL AND nullif(current_setting('{guc}', true), '') IS NULL)",
    landing=POLICIES,
    target="{table}",
    expect=(GLOBAL_ROWS, "{worker}/{table}/no tenant", "got 1"),
)
@falsified_in_sql(
    "everybody-an-operator",
    "CREATE POLICY read_by_all ON {table} FOR SELECT TO PUBLIC USING (true)",
    landing=POLICIES,
    target="{table}",
    expect=(GLOBAL_ROWS, "{worker}/{table}/a tenant of zeros", "got 1"),
)
@falsified_in_sql(
    "shown-by-a-view",
    "CREATE VIEW recent_failures AS SELECT * FROM {table};"
    " GRANT SELECT ON recent_failures TO {worker}",
    landing="SELECT viewname FROM pg_views ORDER BY 1",
    target="recent_failures",
    expect=(GLOBAL_ROWS, "{worker}/recent_failures/no tenant", "got 1"),
)
def test_row_without_a_tenant_is_the_operators_alone(own_stack: Stack, sut: Sut) -> None:
    """No session of another role sees it in any relation that it can read, with any tenant.

    Both operators' roles see it. The migration role owns the table, and no session uses it.
    """
    stack, described = own_stack, sut.dead_letters
    result = failing_ping(stack)
    rows = wait_for_rows(stack, [result.task_id])
    premise("dead-letter rows", got=len(rows), expected=1)
    operators = (described.operator, described.reader)
    for role in operators:
        seen = _seen_by(stack, role, None).count(result.task_id)
        claim(GLOBAL_ROWS, on=f"{role}/{described.table}", got=seen, expected=1)
    others = stack.sql.query(_LOGINS, ([*operators, sut.database.owner],)).column()
    premise("other roles", got=others, relation="contains", expected=sut.worker.role)
    unnamed = sorted(set(others) - set(sut.login_roles))
    premise("roles with a login, for database.roles in the description", got=unnamed, expected=[])
    judged: set[str] = set()
    for role in others:
        for tenant, who in (
            (None, "no tenant"),
            ("", "an empty tenant"),
            ("00000000-0000-0000-0000-000000000000", "a tenant of zeros"),
        ):
            for relation, count in _seen_in_relations(stack, role, tenant, result.task_id).items():
                judged.add(relation)
                claim(GLOBAL_ROWS, on=f"{role}/{relation}/{who}", got=count, expected=0)
    at_least_one(f"relations with task ids that {', '.join(others)} may read", judged)


def _seen_in_relations(stack: Stack, role: str, tenant: str | None, task_id: str) -> dict[str, int]:
    """Return how many rows with a task's id a session sees in each relation that can have any."""
    column = stack.sut.dead_letters.column("task_id")
    tables = list(stack.sut.broker.tables)
    relations = stack.sql.query(_WITH_TASK_ID, (column, role, tables)).column()
    found: dict[str, int] = {}
    with stack.sql.session(role) as session:
        if tenant is not None:
            session.set_local(stack.sut.tenancy.guc, tenant)
        for relation in relations:
            rows = session.query(f"SELECT count(*) FROM {relation} WHERE {column} = %s", (task_id,))
            found[relation] = int(rows.scalar())
    return found


def _seen_by(stack: Stack, role: str, tenant_id: str | None) -> list[str]:
    """Return the task ids of all rows that a session sees; None leaves the tenant unset."""
    described = stack.sut.dead_letters
    with stack.sql.session(role) as session:
        if tenant_id is not None:
            session.set_local(stack.sut.tenancy.guc, tenant_id)
        statement = f"SELECT {described.column('task_id')} FROM {described.table}"
        return session.query(statement).column()
