"""Gate dlq: the migration that renames the dead-letter table, up and down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateproof import (
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    premise,
    utc_now,
)

from ..described import falsified_in_sql
from ..schema.definitions import (
    Definition,
    differences,
    read_table,
    renamed,
)
from ..schema.migrating import claim_done
from .contract import has

MOST_STEPS = 20
KINDS = ("column", "constraint", "index", "policy", "privilege", "trigger")
"""The kinds of objects that a state must have for the comparison to mean something."""

EXISTS = "SELECT to_regclass(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL"

FOREIGN_NAMES = "objects that are named after the other table"
CHANGES = "differences from the definitions before"
ROWS = "rows of the table compared with those before"
"""Names of claims that falsifiers predict."""

EVENT_TRIGGERS = "SELECT evtname FROM pg_event_trigger ORDER BY 1"


@dataclass(frozen=True, kw_only=True)
class State:
    """The table as it is at one moment."""

    definitions: frozenset[Definition]
    rows: tuple[dict[str, Any], ...]


@criterion(
    "DLQ-12",
    needs=(
        "database",
        "migrations.branches",
        "dead_letters.former_table",
        "dead_letters.resolved",
        "dead_letters.statuses",
    ),
)
# Each acts when the table has just got a name: when a mistake in the revision would.
@falsified_in_sql(
    "rows-lost-on-the-way-down",
    """CREATE FUNCTION gateproof_named() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            IF to_regclass('{former}') IS NOT NULL AND to_regclass('{table}') IS NULL THEN
                TRUNCATE {former};
            END IF;
        END $$;
        CREATE EVENT TRIGGER gateproof_named ON ddl_command_end WHEN TAG IN ('ALTER TABLE')
            EXECUTE FUNCTION gateproof_named()""",
    landing=EVENT_TRIGGERS,
    role="superuser",
    expect=(ROWS, "{former}/after the way down", '"rows": 0'),
)
@falsified_in_sql(
    "row-security-lost-on-the-way-up",
    """CREATE TABLE gateproof_seen ();
        GRANT SELECT, INSERT ON gateproof_seen TO PUBLIC;
        CREATE FUNCTION gateproof_named() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            IF to_regclass('{table}') IS NULL THEN
                INSERT INTO gateproof_seen DEFAULT VALUES;
            ELSIF EXISTS (SELECT FROM gateproof_seen) AND EXISTS (SELECT FROM pg_class
                    WHERE oid = to_regclass('{table}') AND relrowsecurity) THEN
                ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;
            END IF;
        END $$;
        CREATE EVENT TRIGGER gateproof_named ON ddl_command_end WHEN TAG IN ('ALTER TABLE')
            EXECUTE FUNCTION gateproof_named()""",
    landing=EVENT_TRIGGERS,
    role="superuser",
    expect=(CHANGES, "{table}/after the way up", "changed relation"),
)
def test_rename_keeps_everything_both_ways(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Down past the rename and up again, only names change, each with its table."""
    new, old = sut.dead_letters.table, sut.dead_letters.former_table
    _write_rows(own_stack, sut, new, ids)
    head = _state(own_stack, new)
    _claim_no_name_of(old, head, f"{new}/at first")
    for kind in KINDS:
        number = sum(one.kind == kind for one in head.definitions)
        premise(f"objects of kind {kind}", on=new, got=number, relation="at_least", expected=1)

    before = _step_down_past_the_rename(own_stack, sut)
    if before is None:
        return
    former, where = _state(own_stack, old), f"{old}/after the way down"
    _claim_no_name_of(new, former, where)
    if not _claim_same(former, _under(before, new, old), where):
        return  # a way up from another state shows nothing more

    _write_rows(own_stack, sut, old, ids)
    more = _state(own_stack, old)
    done = own_stack.migrate(sut.migrations.all)
    if not claim_done(done, "way up") or not _claim_alone(own_stack, "way up", new, old):
        return
    again, where = _state(own_stack, new), f"{new}/after the way up"
    _claim_no_name_of(old, again, where)
    wanted = State(definitions=head.definitions, rows=more.rows)
    _claim_same(_without_later_columns(again, more), wanted, where)


def _without_later_columns(state: State, earlier: State) -> State:
    """Remove the columns that revisions after the rename added."""
    columns = earlier.rows[0].keys()
    rows = tuple({name: row[name] for name in columns if name in row} for row in state.rows)
    return State(definitions=state.definitions, rows=rows)


def _step_down_past_the_rename(stack: Stack, sut: Sut) -> State | None:
    """Go down one revision at a time; return the table just before its name changes.

    Return None if a step failed, or none of them left the former name alone.
    """
    new, old = sut.dead_letters.table, sut.dead_letters.former_table
    branch = sut.migrations.branches[0].partition("@")[0]
    for step in range(1, MOST_STEPS + 1):
        state = _state(stack, new)
        done = stack.migrate(f"{branch}@-1", down=True)
        if not claim_done(done, f"way down/step {step}"):
            return None
        if _exist(stack, new, old) != (True, False):
            break
    return state if _claim_alone(stack, "way down", old, new) else None


def _claim_alone(stack: Stack, what: str, table: str, other: str) -> bool:
    """Claim that the table has one of its names only."""
    there = dict(zip((table, other), _exist(stack, table, other), strict=True))
    return claim("which table exists", on=what, got=there, expected={table: True, other: False})


def _exist(stack: Stack, first: str, second: str) -> tuple[bool, bool]:
    there = stack.sql.query(EXISTS, (first, second)).rows[0]
    return bool(there[0]), bool(there[1])


def _state(stack: Stack, table: str) -> State:
    definitions = read_table(stack.sql, table)
    rows = stack.sql.query(
        f"SELECT * FROM {table} ORDER BY {stack.sut.dead_letters.column('id')}"
    ).dicts()
    return State(definitions=definitions, rows=tuple(rows))


def _under(state: State, old: str, new: str) -> State:
    return State(definitions=renamed(state.definitions, old, new), rows=state.rows)


def _claim_no_name_of(other: str, state: State, what: str) -> None:
    """Claim that objects named after the table are renamed with it: indexes and others."""
    kept = sorted({one.name for one in state.definitions if other in one.name})
    claim(FOREIGN_NAMES, on=what, got=kept, expected=[])


def _claim_same(got: State, expected: State, what: str) -> bool:
    """Claim that a table is as before, and return whether it is."""
    unlike = differences(got.definitions, expected.definitions)
    same = claim(CHANGES, on=what, got=unlike, expected=[])
    # Values are compared here, where they have their types; rows have different task ids.
    wanted = len(expected.rows)
    kept = {
        "rows": len(got.rows),
        "unchanged": sum(row in got.rows for row in expected.rows),
        "in order": got.rows == expected.rows,
    }
    return (
        claim(
            ROWS,
            on=what,
            got=kept,
            expected={"rows": wanted, "unchanged": wanted, "in order": True},
        )
        and same
    )


def _write_rows(stack: Stack, sut: Sut, table: str, ids: Ids) -> None:
    """Write a tenant's row, a global one, and one that was resolved, with every column filled."""
    described = sut.dead_letters
    now = utc_now()
    with stack.sql.session() as session:
        for tenant_id, status in (
            (ids.uuid(), described.new),
            (None, described.new),
            (None, described.resolved),
        ):
            row = {
                "task_id": ids.slug("task"),
                "task_name": "tasks.example",
                "queue": "example",
                "tenant_id": tenant_id,
                "args": "[1]",
                "kwargs": '{"n": "1.10", "e": "\\u00e9"}',
                "exception_class": "ValueError",
                "error_message": "Grüße",
                "traceback": "lines",
                "error_kind": "transient",
                "retry_count": 2,
                "status": status,
                "correlation_id": ids.slug(),
                "last_retry_at": now,
                "resolved_at": now,
                "notes": "kept",
            }
            known = {name: value for name, value in row.items() if has(sut, name)}
            columns = ", ".join(map(described.column, known))
            places = ", ".join(f"%({name})s" for name in known)
            session.query(f"INSERT INTO {table} ({columns}) VALUES ({places})", known)
        session.commit()
