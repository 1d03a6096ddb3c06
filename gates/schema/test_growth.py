"""Gate schema: tables whose ids exceed four bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gateproof import (
    POOL_SOLO,
    Fault,
    Refused,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by_each,
    literal,
    premise,
    sql,
)

from .sequences import CALLED, MESSAGES, bare, label, sequence_of, sequence_sql

BEYOND = 2**31 + 10
"""An id that does not fit into four bytes."""
RESULT_DEADLINE_S = 10.0

CONTINUED = "outcome of continuing the sequence above four bytes"
"""The name of the claim that a sequence reaches such ids; an outcome is `continued` or an error."""
WITH_LARGE_IDS = "ping whose message and result are above four bytes"


def tables_of(sut: Sut) -> tuple[str, str]:
    """Return the tables whose ids grow with each task: of messages and of results."""
    return MESSAGES, sut.broker.results


_TYPE = """
SELECT format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = {table}::regclass AND attname = 'id'
"""
_LIMITS = "SELECT sequencename, max_value FROM pg_sequences ORDER BY 1"


def tables_with_a_sequence_of_their_own(sut: Sut) -> list[str]:
    """Return the tables whose sequence keeps its type when the type of their ids changes."""
    return [table for table in tables_of(sut) if bare(table) in CALLED]


def ids_of_four_bytes(_: Sut, table: str) -> tuple[Fault, tuple[str, str, str]]:
    """Return the fault that the ids of a table have four bytes, while its sequence continues."""
    statement = f"ALTER TABLE {table} ALTER id TYPE integer"
    landing = _TYPE.format(table=literal(table))
    if table == MESSAGES:
        fault = sql("message-ids-of-four-bytes", statement, landing=landing)
        return fault, ("end of sending", "message above four bytes", "got refused")
    fault = sql("result-ids-of-four-bytes", statement, landing=landing)
    return fault, ("state", WITH_LARGE_IDS, "got PENDING")


def sequence_of_four_bytes(_: Sut, table: str) -> tuple[Fault, tuple[str, str, str]]:
    """Return the fault that the sequence of a table ends at four bytes."""
    change = f"' || {sequence_sql(table)} || ' MAXVALUE 2147483647 CYCLE"
    fault = sql(
        "sequence-of-four-bytes",
        f"DO $$ BEGIN EXECUTE 'ALTER SEQUENCE {change}'; END $$",
        landing=_LIMITS,
        target=label(table),
    )
    return fault, (CONTINUED, label(table), "got refused")


@criterion("SCH-06", needs=("database", "celery", "broker.kind=sqla", "worker", "ping", "task"))
@falsified_by_each(tables_with_a_sequence_of_their_own, ids_of_four_bytes)
@falsified_by_each(lambda sut: tables_of(sut)[1:], sequence_of_four_bytes)
def test_ids_may_exceed_four_bytes(own_stack: Stack, sut: Sut) -> None:
    """A ping whose message and result get ids above 2**31 is sent, run and answered."""
    stack, tables = own_stack, tables_of(sut)
    found = {table: sequence_of(stack.sql, table) for table in tables}
    sequences = {table: name for table, name in found.items() if name is not None}
    unknown = [table for table in tables if table not in sequences]
    premise("tables whose ids no sequence makes", got=unknown, expected=[])
    reached = [_can_continue(stack, table, name) for table, name in sequences.items()]
    if not all(reached):
        return
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        with beyond_four_bytes(stack, sequences):
            _claim_answered(stack, sut)


def _claim_answered(stack: Stack, sut: Sut) -> None:
    """Claim that a ping is sent and answered, and that its result has an id above four bytes."""
    task_id, end = _send(stack, sut)
    if not claim("end of sending", on="message above four bytes", got=end, expected="sent"):
        return
    state = stack.tasks.result(task_id, deadline_s=RESULT_DEADLINE_S).state
    if claim("state", on=WITH_LARGE_IDS, got=state, expected="SUCCESS"):
        statement = f"SELECT id FROM {sut.broker.results} WHERE task_id = %s"
        kept = stack.sql.query(statement, (task_id,)).scalar()
        claim("id of its result", got=kept, relation="at_least", expected=BEYOND)


def _can_continue(stack: Stack, table: str, sequence: str) -> bool:
    """Claim that the sequence of a table can exceed four bytes, and leave it as it was."""
    with stack.sql.session() as session:
        before = session.query(f"SELECT last_value, is_called FROM {sequence}").rows[0]
        seen = session.attempt("SELECT setval(%s, %s)", (sequence, BEYOND))
        if not isinstance(seen, Refused):
            session.query("SELECT setval(%s, %s, %s)", (sequence, *before))
        session.commit()
    got = f"refused: {seen.sqlstate}" if isinstance(seen, Refused) else "continued"
    return claim(CONTINUED, on=label(table), got=got, expected="continued")


def _send(stack: Stack, sut: Sut) -> tuple[str, str]:
    """Publish a ping; return its id, and how that ended."""
    try:
        return stack.tasks.publish(sut.ping.task, (), sut.ping.arguments), "sent"
    except AssertionError as error:
        return "", f"refused: {error}"


@contextmanager
def beyond_four_bytes(stack: Stack, sequences: Mapping[str, str]) -> Iterator[None]:
    """Continue the sequences of tables above four bytes for the block, and restore everything.

    Args:
        stack: the stack whose database has them.
        sequences: maps each table to its sequence.

    """
    before = {
        name: stack.sql.query(f"SELECT last_value FROM {name}").scalar()
        for name in sequences.values()
    }
    for name in before:
        stack.sql.query("SELECT setval(%s, %s)", (name, BEYOND))
    try:
        yield
    finally:
        for table, name in sequences.items():
            stack.sql.query(f"DELETE FROM {table} WHERE id > %s", (BEYOND,))
            stack.sql.query("SELECT setval(%s, %s)", (name, before[name]))
