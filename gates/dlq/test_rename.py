"""Gate dlq: the migration that renames the dead-letter table, up and down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateproof import Ids, Stack, Sut, criterion, falsified_by, migration, premise

from ..schema.definitions import (
    Definition,
    differences,
    read_table,
    renamed,
    shown,
)
from ..schema.migrating import assert_done
from .parts import RENAMED

MOST_STEPS = 20
KINDS = ("column", "constraint", "index", "policy", "privilege", "trigger")
"""The kinds of objects that a state must have for the comparison to mean something."""

EXISTS = "SELECT to_regclass(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL"

UP = "    op.execute(_RENAME.format(old=OLD, new=NEW))\n"
DOWN = "    op.execute(_RENAME.format(old=NEW, new=OLD))\n"
"""Each direction in full, to which falsifiers add a mistake."""


def and_then(*statements: str) -> str:
    """Return further statements of a revision."""
    return "".join(f"    op.execute({statement!r})\n" for statement in statements)


@dataclass(frozen=True, kw_only=True)
class State:
    """The table as it is at one moment."""

    definitions: frozenset[Definition]
    rows: tuple[dict[str, Any], ...]


@criterion("DLQ-12", needs=("database", "migrations.branches", "dead_letters.former_table"))
@falsified_by(
    migration(
        "names-forgotten",
        RENAMED,
        function="upgrade",
        body='op.execute(f"ALTER TABLE {OLD} RENAME TO {NEW}")',
    ),
    expect="names in worker_failed_jobs after the way up: got celery_task_failures_",
)
@falsified_by(
    migration(
        "index-lost",
        RENAMED,
        DOWN,
        DOWN + and_then("DROP INDEX ix_celery_task_failures_task_name"),
    ),
    expect="after the way down: got lost index ix_celery_task_failures_task_name",
)
@falsified_by(
    migration(
        "constraint-left-unvalidated",
        RENAMED,
        UP,
        UP
        + and_then(
            "ALTER TABLE worker_failed_jobs DROP CONSTRAINT worker_failed_jobs_retry_count_check,"
            " ADD CONSTRAINT worker_failed_jobs_retry_count_check CHECK (retry_count >= 0)"
            " NOT VALID"
        ),
    ),
    expect="after the way up: got changed constraint worker_failed_jobs_retry_count_check",
)
@falsified_by(
    migration(
        "policy-narrowed",
        RENAMED,
        UP,
        UP
        + and_then(
            "DROP POLICY operator_read ON worker_failed_jobs",
            "CREATE POLICY operator_read ON worker_failed_jobs FOR SELECT TO app_rw USING (true)",
        ),
    ),
    expect="after the way up: got changed policy operator_read",
)
@falsified_by(
    migration(
        "grant-forgotten",
        RENAMED,
        UP,
        UP
        + and_then(
            "REVOKE ALL ON worker_failed_jobs FROM app_user, app_rw, app_ro",
            "GRANT SELECT, INSERT ON worker_failed_jobs TO app_user",
            "GRANT SELECT, UPDATE ON worker_failed_jobs TO app_rw",
        ),
    ),
    expect="after the way up: got lost privilege app_ro SELECT",
)
@falsified_by(
    migration(
        "rows-lost",
        RENAMED,
        DOWN,
        DOWN + and_then("TRUNCATE celery_task_failures"),
    ),
    expect="rows of celery_task_failures after the way down: got 0",
)
def test_rename_keeps_everything_both_ways(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Down past the rename and up again, only names change, each with its table."""
    new, old = sut.dead_letters.table, sut.dead_letters.former_table
    _write_rows(own_stack, new, ids)
    head = _state(own_stack, new)
    _assert_no_name_of(old, head, new)
    for kind in KINDS:
        number = sum(one.kind == kind for one in head.definitions)
        premise(f"objects of kind {kind}", on=new, got=number, relation="at_least", expected=1)

    before = _step_down_past_the_rename(own_stack, sut)
    former = _state(own_stack, old)
    _assert_no_name_of(new, former, f"{old} after the way down")
    _assert_same(former, _under(before, new, old), f"{old} after the way down")

    _write_rows(own_stack, old, ids)
    more = _state(own_stack, old)
    done = own_stack.migrate(sut.migrations.all)
    assert_done(done, "the way up")
    assert _exist(own_stack, sut) == (True, False), f"the way up: got no {new}, expected it alone"
    again = _state(own_stack, new)
    _assert_no_name_of(old, again, f"{new} after the way up")
    wanted = State(definitions=head.definitions, rows=more.rows)
    _assert_same(_without_later_columns(again, more), wanted, f"{new} after the way up")


def _without_later_columns(state: State, earlier: State) -> State:
    """Remove the columns that revisions after the rename added."""
    columns = earlier.rows[0].keys()
    rows = tuple({name: row[name] for name in columns} for row in state.rows)
    return State(definitions=state.definitions, rows=rows)


def _step_down_past_the_rename(stack: Stack, sut: Sut) -> State:
    """Go down one revision at a time; return the table just before its name changes."""
    branch = sut.migrations.branches[0].partition("@")[0]
    for _ in range(MOST_STEPS):
        state = _state(stack, sut.dead_letters.table)
        done = stack.migrate(f"{branch}@-1", down=True)
        assert_done(done, "one step down")
        there = _exist(stack, sut)
        if there != (True, False):
            break
    assert there == (False, True), (
        f"the way down: got {sut.dead_letters.table} {there[0]}, "
        f"{sut.dead_letters.former_table} {there[1]}, expected the former name alone"
    )
    return state


def _exist(stack: Stack, sut: Sut) -> tuple[bool, bool]:
    names = (sut.dead_letters.table, sut.dead_letters.former_table)
    new, old = stack.sql.query(EXISTS, names).rows[0]
    return bool(new), bool(old)


def _state(stack: Stack, table: str) -> State:
    definitions = read_table(stack.sql, table)
    rows = stack.sql.query(f"SELECT * FROM {table} ORDER BY id").dicts()
    return State(definitions=definitions, rows=tuple(rows))


def _under(state: State, old: str, new: str) -> State:
    return State(definitions=renamed(state.definitions, old, new), rows=state.rows)


def _assert_no_name_of(other: str, state: State, what: str) -> None:
    """Judge that objects named after the table are renamed with it: indexes and others."""
    kept = sorted({one.name for one in state.definitions if other in one.name})
    assert not kept, f"names in {what}: got {', '.join(kept)}, expected none named after {other}"


def _assert_same(got: State, expected: State, what: str) -> None:
    unlike = differences(got.definitions, expected.definitions)
    assert not unlike, f"{what}: got {shown(unlike)}, expected what was there before"
    have, want = len(got.rows), len(expected.rows)
    kept = sum(row in expected.rows for row in got.rows)
    same = got.rows == expected.rows
    assert same, f"rows of {what}: got {have}, of which {kept} unchanged, expected {want} unchanged"


def _write_rows(stack: Stack, table: str, ids: Ids) -> None:
    """Write a tenant's row, a global one, and one that was resolved, with every column filled."""
    with stack.sql.session() as session:
        for tenant_id, status in ((ids.uuid(), "pending"), (None, "pending"), (None, "resolved")):
            session.query(
                f"INSERT INTO {table} (task_id, task_name, queue, tenant_id, args, kwargs,"
                " exception_class, error_message, traceback, error_kind, retry_count, status,"
                " correlation_id, last_retry_at, resolved_at, notes)"
                " VALUES (%s, 'app.tasks.example', 'housekeeping', %s, '[1]', %s,"
                " 'ValueError', 'Grüße', 'lines', 'transient', 2, %s, %s, now(), now(), 'kept')",
                (ids.slug("task"), tenant_id, '{"n": "1.10", "e": "\\u00e9"}', status, ids.slug()),
            )
        session.commit()
