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
    falsified_by,
    premise,
    sql,
    wait_until,
)

from ..endings import ROW_AFTER_LINE_S, wait_for_failure_lines
from .parts import (
    POLICIES,
    READERS,
    TABLE,
    TYPES,
    VIEWS,
)
from .rows import (
    ROWS_OF_TASK,
    DeadLetter,
    fail,
    failing_ping,
    only_row,
    rows_of,
    typed,
    wait_for_rows,
)

PING = "app.tasks.housekeeping.ping"
"""The described ping, whose name falsifiers predict."""
RECOMPUTE = "app.tasks.attribution.recompute_window"
RECOMPUTE_MESSAGE = "attribution recompute failure requested"

GLOBAL_TASK = "task without a tenant"
VALUE_IN_ROW = "value in the dead-letter row"
VALUE_IN_KWARGS = "value in the keyword arguments"
LARGE_TEXT = "bytes of the large text in the keyword arguments"
GLOBAL_ROWS = "dead-letter rows without a tenant that the session sees"
OWN_ROWS = "own dead-letter rows that the tenant sees"
FOREIGN_ROWS = "dead-letter rows of the other tenant that the tenant sees"
"""Names of claims that falsifiers predict."""

MEGABYTE = 2**20
LARGE = ["model_version", "large"]
"""The path of the large text in the keyword arguments."""

AMOUNT = "1234567890.123456789012345678901234567890"
"""More digits than a float keeps."""

# The digest and the length of a large payload, and the arguments without it.
_LONG = """
    SELECT args::text, octet_length(kwargs #>> %(path)s::text[]),
        encode(sha256(convert_to(kwargs #>> %(path)s::text[], 'UTF8')), 'hex'),
        (kwargs::jsonb #- %(path)s::text[])::text
    FROM {table} WHERE task_id = %(task_id)s
"""

_LOGINS = """
    SELECT rolname FROM pg_roles
    WHERE rolcanlogin AND NOT rolsuper AND rolname <> ALL (%s) ORDER BY 1
"""
# Relations that can show a row; Celery's own tables have the same column for results.
_WITH_TASK_ID = """
    SELECT c.relname FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'task_id' AND a.attnum > 0
    WHERE c.relkind IN ('r', 'v', 'm', 'p') AND c.relnamespace = 'public'::regnamespace
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
        "dead_letters",
        "logs",
    ),
)
@falsified_by(
    sql(
        "taken-up-at-once",
        f"ALTER TABLE {TABLE} ALTER status SET DEFAULT 'in_progress'",
        landing=TYPES,
    ),
    expect=(VALUE_IN_ROW, f"{PING}/status", "got in_progress, expected pending"),
)
def test_failing_task_leaves_exactly_one_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """A ping that fails after a retry leaves one pending row; one that succeeds leaves none."""
    tenant = str(ids.uuid())
    kwargs = {**sut.ping.arguments, **sut.ping.retry, **sut.ping.fail, sut.tenancy.key: tenant}
    result = fail(stack, sut.ping.task, kwargs)
    wait_for_rows(stack, [result.task_id], tenant_id=tenant)
    # After another task of the same worker, everything else that the failure writes is written.
    plain = {**sut.ping.arguments, sut.tenancy.key: tenant}
    done = stack.tasks.run(sut.ping.task, plain)
    premise("state of a plain ping", got=done.state, expected="SUCCESS")
    row = _only_row(stack, sut.ping.task, result, tenant)
    if row is None:
        return
    _claim_values(row, sut, sut.ping.task, result, kwargs)
    _claim_exception(row, sut.ping.task, sut.ping.fail_error)


@criterion(
    "DLQ-04",
    needs=("database", "celery", "worker", "ping", "task", "tenancy", "dead_letters", "logs"),
)
def test_failing_recompute_leaves_exactly_one_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """A recompute that is asked to fail leaves one pending row with its window and tenant."""
    tenant = str(ids.uuid())
    kwargs = {
        sut.tenancy.key: tenant,
        "window_start": "2026-01-01T00:00:00+00:00",
        "window_end": "2026-01-02T00:00:00+00:00",
        "model_version": ids.slug("model"),
        "correlation_id": ids.slug("correlation"),
        "fail": True,
    }
    result = fail(stack, RECOMPUTE, kwargs)
    wait_for_rows(stack, [result.task_id], tenant_id=tenant)
    done = stack.tasks.run(RECOMPUTE, {**kwargs, "fail": False})
    premise("state of a task", on=RECOMPUTE, got=done.state, expected="SUCCESS")
    row = _only_row(stack, RECOMPUTE, result, tenant)
    if row is None:
        return
    _claim_values(row, sut, RECOMPUTE, result, kwargs)
    _claim_exception(row, RECOMPUTE, "ValueError")
    claim(
        "message that the task raised",
        on=RECOMPUTE,
        got=row.error_message,
        expected=RECOMPUTE_MESSAGE,
    )


def _only_row(stack: Stack, task: str, result: TaskResult, tenant: str | None) -> DeadLetter | None:
    """Claim that there is one row with the task's name, and return it; None without exactly one."""
    row = only_row(rows_of(stack, [result.task_id], tenant_id=tenant), task)
    if row is not None:
        claim(VALUE_IN_ROW, on=f"{task}/task name", got=row.task_name, expected=task)
    return row


def _claim_exception(row: DeadLetter, task: str, expected: str) -> None:
    raised = row.exception_class.rpartition(".")[2]
    claim("exception that the task raised", on=task, got=raised, expected=expected)


def _claim_values(
    row: DeadLetter, sut: Sut, task: str, result: TaskResult, kwargs: Mapping[str, Any]
) -> None:
    """Compare a row with what was published, and with the failure in the result."""
    tenant = kwargs.get(sut.tenancy.key)
    stored = result.value if isinstance(result.value, dict) else {}
    got: dict[str, tuple[Any, Any]] = {
        "task id": (row.task_id, result.task_id),
        "queue": (row.queue, sut.queue_of(task)),
        "tenant": (row.tenant_id, tenant),
        "positional arguments": (row.sent_args(), []),
        "keyword arguments": (row.sent_kwargs(), kwargs),
        "message": (row.error_message, stored.get("message")),
        "exception": (row.exception_class.rpartition(".")[2], stored.get("exception")),
        "status": (row.status, "pending"),
    }
    for what, (seen, expected) in got.items():
        claim(VALUE_IN_ROW, on=f"{task}/{what}", got=typed(seen), expected=typed(expected))
    claim(
        "characters of the message in the dead-letter row",
        on=task,
        got=len(row.error_message or ""),
        expected=1,
        relation="at_least",
    )


# --- arguments are preserved ------------------------------------------------------------------


@criterion("DLQ-05", needs=("database", "celery", "worker", "ping", "task", "dead_letters", "logs"))
def test_arguments_survive_with_their_types(stack: Stack, ids: Ids) -> None:
    """Positional and keyword arguments of every type are read back as they were published."""
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
        "nested": [{"id": ids.uuid(), "none": None, "yes": True, "number": 2**53 + 1}],
    }
    large = "".join(f"{number:07d}\n" for number in range(MEGABYTE // 8))
    kwargs = {"model_version": {**values, "large": large}, "fail": True}
    result = fail(stack, RECOMPUTE, kwargs, args)

    found = _read_long(stack, result.task_id)
    if found is None:
        return
    kept_args, length, digest, kept = found
    claim(LARGE_TEXT, on=RECOMPUTE, got=length, expected=MEGABYTE)
    claim(
        "SHA-256 of the large text in the keyword arguments",
        on=RECOMPUTE,
        got=digest,
        expected=hashlib.sha256(large.encode()).hexdigest(),
    )
    for name, value in values.items():
        got = _member(_member(kept, "model_version"), name)
        claim(
            VALUE_IN_KWARGS,
            on=f"{RECOMPUTE}/{name}",
            got=_spelled(got),
            expected=_spelled(value),
        )
    claim(VALUE_IN_KWARGS, on=f"{RECOMPUTE}/fail", got=_member(kept, "fail"), expected=True)
    claim(
        "positional arguments",
        on=RECOMPUTE,
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


def _read_long(stack: Stack, task_id: str) -> tuple[Any, int, str, Any] | None:
    """Return args, the large text's length and digest, and the other kwargs; None without a row."""
    wait_for_failure_lines(stack, [task_id])
    statement = _LONG.format(table=stack.sut.dead_letters.table)
    rows = wait_until(
        lambda: stack.sql.query(statement, {"task_id": task_id, "path": LARGE}).rows,
        deadline_s=ROW_AFTER_LINE_S,
    )
    if not claim(ROWS_OF_TASK, on=RECOMPUTE, got=len(rows), expected=1):
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
        "logs",
    ),
)
@falsified_by(
    sql(
        "tenant-demanded",
        f"""ALTER POLICY tenant_write ON {TABLE} WITH CHECK (
            tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)""",
        landing=POLICIES,
    ),
    expect=(ROWS_OF_TASK, GLOBAL_TASK, "got 0"),
)
@falsified_by(
    sql(
        "global-for-tenants",
        f"""CREATE POLICY global_read ON {TABLE} FOR SELECT TO app_user USING (
            tenant_id IS NULL AND current_setting('app.current_tenant_id', true) <> '')""",
        landing=POLICIES,
        target=TABLE,
    ),
    expect=(GLOBAL_ROWS, f"app_user/{TABLE}/a tenant", "got 1"),
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
    own = failing_ping(stack, **{sut.tenancy.key: str(ids.uuid())})
    owned = wait_for_rows(stack, [own.task_id])
    premise(ROWS_OF_TASK, on="task with a tenant", got=len(owned), relation="at_least", expected=1)
    owner, role, table = owned[0].tenant_id, sut.worker.role, sut.dead_letters.table
    for tenant, who in ((None, "no tenant"), ("", "an empty tenant"), (owner, "a tenant")):
        count = _seen_by(stack, role, tenant).count(row.task_id)
        claim(GLOBAL_ROWS, on=f"{role}/{table}/{who}", got=count, expected=0)


@criterion(
    "DLQ-07",
    needs=("database", "celery", "worker", "ping.fail", "task", "tenancy", "dead_letters", "logs"),
)
@falsified_by(
    sql(
        "reads-all",
        f"ALTER POLICY tenant_read ON {TABLE} USING (true)",
        landing=POLICIES,
        target=TABLE,
    ),
    expect=(FOREIGN_ROWS, f"app_user/{TABLE}/tenant A", "got 1"),
)
@falsified_by(
    sql(
        "other-setting",
        f"""ALTER POLICY tenant_read ON {TABLE} USING (
            tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)""",
        landing=POLICIES,
        target=TABLE,
    ),
    expect=(OWN_ROWS, f"app_user/{TABLE}/tenant A", "got 0"),
)
def test_tenant_sees_its_own_rows_only(stack: Stack, sut: Sut, ids: Ids) -> None:
    """With two rows of tenant A and one of B, each tenant sees its own, and other sessions none."""
    tenants = {"A": str(ids.uuid()), "B": str(ids.uuid())}
    sent: dict[str, list[str]] = {"A": [], "B": []}
    for name in ("A", "A", "B"):
        result = failing_ping(stack, **{sut.tenancy.key: tenants[name]})
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
        (str(ids.uuid()), "another tenant"),
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
        "logs",
    ),
)
@falsified_by(
    sql(
        "nobody-sees-nobodys",
        f"""ALTER POLICY tenant_read ON {TABLE} USING (tenant_id IS NOT DISTINCT FROM
            nullif(current_setting('app.current_tenant_id', true), '')::uuid)""",
        landing=POLICIES,
        target=TABLE,
    ),
    expect=(GLOBAL_ROWS, f"app_user/{TABLE}/no tenant", "got 1"),
)
@falsified_by(
    sql(
        "everybody-an-operator",
        f"ALTER POLICY operator_read ON {TABLE} TO PUBLIC",
        landing=READERS,
        target=TABLE,
    ),
    expect=(GLOBAL_ROWS, f"app_user/{TABLE}/a tenant of zeros", "got 1"),
)
@falsified_by(
    sql(
        "shown-by-a-view",
        f"""CREATE VIEW recent_failures AS SELECT * FROM {TABLE};
            GRANT SELECT ON recent_failures TO app_user""",
        landing=VIEWS,
        target="recent_failures",
    ),
    expect=(GLOBAL_ROWS, "app_user/recent_failures/no tenant", "got 1"),
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
    relations = stack.sql.query(_WITH_TASK_ID, (role, list(stack.sut.broker.tables))).column()
    found: dict[str, int] = {}
    with stack.sql.session(role) as session:
        if tenant is not None:
            session.set_local(stack.sut.tenancy.guc, tenant)
        for relation in relations:
            rows = session.query(f"SELECT count(*) FROM {relation} WHERE task_id = %s", (task_id,))
            found[relation] = int(rows.scalar())
    return found


def _seen_by(stack: Stack, role: str, tenant_id: str | None) -> list[str]:
    """Return the task ids of all rows that a session sees; None leaves the tenant unset."""
    with stack.sql.session(role) as session:
        if tenant_id is not None:
            session.set_local(stack.sut.tenancy.guc, tenant_id)
        return session.query(f"SELECT task_id FROM {stack.sut.dead_letters.table}").column()
