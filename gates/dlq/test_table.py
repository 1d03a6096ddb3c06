"""Gate dlq: the table: columns, rules, indexes, privileges, moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gateproof import (
    Ids,
    Refused,
    Rows,
    Session,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    premise,
    sql,
)

from ..schema.privileges import held
from .contract import COLUMNS, INDEXED, KINDS, MOVES, STATUSES, WAYS
from .parts import (
    CONSTRAINTS,
    POLICIES,
    PRIVILEGES,
    TABLE,
    TRIGGERS,
)

NULL, UNIQUE, CHECK, FORBIDDEN = "23502", "23505", "23514", "42501"
"""SQLSTATEs of the refusals: not_null, unique and check violation, insufficient privilege."""

TYPE, LEADING_COLUMNS = "type of the column", "columns that a whole, valid index begins with"
INSERTION, STATEMENT = "outcome of the insertion", "outcome of the statement"
MOVE, PRIVILEGES_HELD = "outcome of the move", "privileges that the role holds"
"""Names of claims that falsifiers predict. An outcome is a number of rows or a SQLSTATE."""

LATER = "2100-01-01T00:00:00Z"
"""A time that no other row has: a second row of a task never has the time of the first."""

IN_CATALOGUE = """
    SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns
    WHERE table_name = %s AND table_schema = 'public'
"""
LEADING = """
    SELECT a.attname, x.indisunique AND x.indnkeyatts = 1, x.indisprimary
    FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
    WHERE x.indrelid = %s::regclass AND x.indisvalid AND x.indpred IS NULL
"""
ROLES = """
    SELECT rolname FROM pg_roles
    WHERE NOT rolsuper AND rolname !~ '^pg_' AND rolname <> %s ORDER BY 1
"""


def new_row(ids: Ids, **values: Any) -> dict[str, Any]:
    """Return the least columns of a row; the table fills the rest."""
    return {
        "task_id": ids.slug("task"),
        "task_name": "app.tasks.example",
        "exception_class": "ValueError",
        "error_message": "example",
        **values,
    }


def insert(session: Session, table: str, row: Mapping[str, Any]) -> Rows | Refused:
    """Try to write a row."""
    names, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    return session.attempt(f"INSERT INTO {table} ({names}) VALUES ({places})", row)


def describe(seen: Rows | Refused) -> str:
    """Return how many rows a statement changed, or the SQLSTATE with which it was refused."""
    return seen.sqlstate if isinstance(seen, Refused) else f"{seen.count} rows"


@criterion("DLQ-01", needs=("database", "dead_letters"))
@falsified_by(
    sql(
        "any-status",
        f"ALTER TABLE {TABLE} DROP CONSTRAINT {TABLE}_status_check",
        landing=CONSTRAINTS,
        target=TABLE,
    ),
    expect=(INSERTION, f"{TABLE}/row with status 'misplaced'", "got 1 rows"),
)
@falsified_by(
    sql(
        "unique-for-each-moment",
        f"ALTER TABLE {TABLE} DROP CONSTRAINT {TABLE}_task_id_key,"
        f" ADD CONSTRAINT {TABLE}_task_id_key UNIQUE (task_id, failed_at)",
        landing=CONSTRAINTS,
        target=TABLE,
    ),
    expect=(INSERTION, f"{TABLE}/second row of one task", "got 1 rows"),
)
def test_table_has_columns_rules_and_indexes(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Each column has its type, each rule refuses violations, each look-up has its index."""
    table = sut.dead_letters.table
    found = {row[0]: row[1:] for row in own_stack.sql.query(IN_CATALOGUE, (table,)).rows}
    for name, (types, nullable) in COLUMNS.items():
        kind, empty = found.get(name, ("none", None))
        accepted = f"^({'|'.join(types)})$"
        claim(TYPE, on=f"{table}/{name}", got=kind, expected=accepted, relation="matches")
        claim("whether the column can be null", on=f"{table}/{name}", got=empty, expected=nullable)
    _claim_rules(own_stack, table, ids)
    leading = own_stack.sql.query(LEADING, (table,)).rows
    first = sorted({row[0] for row in leading})
    for name in INDEXED:
        on = f"{table}/{name}"
        claim(LEADING_COLUMNS, on=on, got=first, expected=name, relation="contains")
    primary = [row[0] for row in leading if row[2]]
    claim("column that the primary key begins with", on=table, got=primary, expected=["id"])


def _claim_rules(stack: Stack, table: str, ids: Ids) -> None:
    """Claim that a plain row gets its defaults, and each invalid row is refused, as superuser."""
    row = new_row(ids)
    same = {"task_id": row["task_id"]}
    refusals: list[tuple[str, Mapping[str, Any], str]] = [
        ("second row of one task", {**new_row(ids, failed_at=LATER), **same}, UNIQUE),
        ("row with status 'misplaced'", new_row(ids, status="misplaced"), CHECK),
        ("row with error_kind 'odd'", new_row(ids, error_kind="odd"), CHECK),
        ("row with retry_count -1", new_row(ids, retry_count=-1), CHECK),
        ("row without task_id", new_row(ids, task_id=None), NULL),
        ("row without task_name", new_row(ids, task_name=None), NULL),
        ("row without exception_class", new_row(ids, exception_class=None), NULL),
    ]
    with stack.sql.session() as session:
        taken = describe(insert(session, table, row))
        if not claim(INSERTION, on=f"{table}/plain row", got=taken, expected="1 rows"):
            return
        made = session.query(
            f"SELECT status, retry_count, failed_at IS NOT NULL, id IS NOT NULL"
            f" FROM {table} WHERE task_id = %s",
            (row["task_id"],),
        ).rows[0]
        claim(
            "status, retry_count, and whether failed_at and id are filled",
            on=f"{table}/plain row",
            got=made,
            expected=["pending", 0, True, True],
        )
        for what, broken, expected in refusals:
            seen = describe(insert(session, table, broken))
            claim(INSERTION, on=f"{table}/{what}", got=seen, expected=expected)
        for kind in KINDS:
            seen = describe(insert(session, table, new_row(ids, error_kind=kind)))
            where = f"{table}/row with error_kind '{kind}'"
            claim(INSERTION, on=where, got=seen, expected="1 rows")
        session.rollback()


@criterion(
    "DLQ-02",
    needs=("database", "worker", "tenancy", "dead_letters.operator", "dead_letters.reader"),
)
@falsified_by(
    sql(
        "worker-deletes",
        f"GRANT DELETE ON {TABLE} TO app_user",
        landing=PRIVILEGES,
        target=TABLE,
    ),
    expect=(PRIVILEGES_HELD, f"app_user/{TABLE}", "got DELETE, INSERT, SELECT"),
)
@falsified_by(
    sql(
        "reader-notes",
        f"GRANT UPDATE (notes) ON {TABLE} TO app_ro",
        landing=f"SELECT attacl FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass"
        " AND attname = 'notes'",
        target=TABLE,
    ),
    expect=(PRIVILEGES_HELD, f"app_ro/{TABLE}", "got SELECT, UPDATE"),
)
@falsified_by(
    sql(
        "everyone-reads",
        f"GRANT SELECT ON {TABLE} TO PUBLIC",
        landing=PRIVILEGES,
        target=TABLE,
    ),
    expect=(PRIVILEGES_HELD, f"app_aggregator/{TABLE}", "got SELECT, expected none"),
)
@falsified_by(
    sql(
        "operator-cannot-move",
        f"REVOKE UPDATE ON {TABLE} FROM app_rw",
        landing=PRIVILEGES,
        target=TABLE,
    ),
    expect=(PRIVILEGES_HELD, f"app_rw/{TABLE}", "got SELECT, expected SELECT, UPDATE"),
)
@falsified_by(
    sql(
        "operator-without-policy",
        f"DROP POLICY operator_move ON {TABLE}",
        landing=POLICIES,
        target=TABLE,
    ),
    expect=(STATEMENT, f"app_rw/{TABLE}/moves a row", "got 0 rows"),
)
def test_each_role_holds_exactly_its_privileges(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """The worker writes, the operator moves, the reader reads, and no other role has access."""
    described = sut.dead_letters
    table = described.table
    granted = {
        sut.worker.role: frozenset({"SELECT", "INSERT"}),
        described.operator: frozenset({"SELECT", "UPDATE"}),
        described.reader: frozenset({"SELECT"}),
    }
    known = own_stack.sql.query(ROLES, (sut.database.owner,)).column()
    absent = sorted(granted.keys() - set(known))
    premise("missing ordinary roles", got=absent, expected=[])
    for (_, role), privileges in held(own_stack.sql, roles=known, tables=[table]).items():
        wanted = granted.get(role, frozenset())
        claim(PRIVILEGES_HELD, on=f"{role}/{table}", got=privileges, expected=wanted)
    _claim_used(own_stack, sut, ids)


def _claim_used(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Claim that each privilege works and the next is refused, on a tenant's and a global row."""
    table, tenant = sut.dead_letters.table, str(ids.uuid())
    rows = (new_row(ids, tenant_id=tenant), new_row(ids))
    for what, row in zip(("a tenant's row", "a global row"), rows, strict=True):
        with _as_tenant(stack, sut, row.get("tenant_id")) as session:
            seen = describe(insert(session, table, row))
            session.commit()
        where = f"{sut.worker.role}/{table}/writes {what}"
        claim(STATEMENT, on=where, got=seen, expected="1 rows")
    one = {"task_id": rows[0]["task_id"], "other": rows[1]["task_id"]}
    both = f"SELECT id FROM {table} WHERE task_id IN (%(task_id)s, %(other)s)"
    move = f"UPDATE {table} SET status = 'in_progress' WHERE task_id = %(task_id)s"
    delete = f"DELETE FROM {table} WHERE task_id = %(task_id)s"
    for role, act, statement, expected in (
        (sut.dead_letters.reader, "reads both rows", both, "2 rows"),
        (sut.dead_letters.operator, "reads both rows", both, "2 rows"),
        (sut.dead_letters.reader, "moves a row", move, FORBIDDEN),
        (sut.worker.role, "moves a row", move, FORBIDDEN),
        (sut.dead_letters.operator, "moves a row", move, "1 rows"),
        (sut.dead_letters.operator, "deletes a row", delete, FORBIDDEN),
        (sut.worker.role, "deletes a row", delete, FORBIDDEN),
    ):
        seen = describe(stack.sql.attempt(statement, one, role=role))
        claim(STATEMENT, on=f"{role}/{table}/{act}", got=seen, expected=expected)


@contextmanager
def _as_tenant(stack: Stack, sut: Sut, tenant_id: str | None) -> Iterator[Session]:
    with stack.sql.session(sut.worker.role) as session:
        if tenant_id:
            session.set_local(sut.tenancy.guc, tenant_id)
        yield session


@criterion("DLQ-11", needs=("database", "dead_letters.operator"))
@falsified_by(
    sql(
        "trigger-dropped",
        f"DROP TRIGGER dead_letter_moves ON {TABLE}",
        landing=TRIGGERS,
        target=TABLE,
    ),
    expect=(MOVE, f"app_rw/{TABLE}/resolved to pending", "got 1 rows"),
)
@falsified_by(
    sql(
        "no-second-try",
        f"""CREATE FUNCTION refuse_second_try() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.status = 'in_progress' AND NEW.status = 'pending' THEN
                RAISE EXCEPTION 'no second try';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER second_try BEFORE UPDATE ON {TABLE}
            FOR EACH ROW EXECUTE FUNCTION refuse_second_try();""",
        landing=TRIGGERS,
        target=TABLE,
    ),
    expect=(MOVE, f"app_rw/{TABLE}/in_progress to pending", "got P0001"),
)
def test_status_moves_only_along_the_legal_moves(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Of the twelve moves between statuses only the six legal ones work, for operators too."""
    table = sut.dead_letters.table
    for role in (sut.dead_letters.operator, None):
        with own_stack.sql.session() as owner, own_stack.sql.session(role) as session:
            mover = Mover(name=role or "superuser", session=session, owner=owner, table=table)
            for old in STATUSES:
                for new in (status for status in STATUSES if status != old):
                    _claim_move(mover, ids, old, new)


@dataclass(frozen=True, kw_only=True)
class Mover:
    """A role that moves rows, and the session that writes and reads them."""

    name: str
    session: Session
    owner: Session
    table: str

    def move(self, row: Mapping[str, Any], status: str) -> str:
        """Try to move a row, and commit; return the outcome."""
        update = f"UPDATE {self.table} SET status = %(status)s WHERE task_id = %(task_id)s"
        seen = describe(self.session.attempt(update, {**row, "status": status}))
        self.session.commit()
        return seen

    def status_of(self, row: Mapping[str, Any]) -> str:
        """Return a row's status as it was committed."""
        seen = self.owner.query(f"SELECT status FROM {self.table} WHERE task_id = %(task_id)s", row)
        self.owner.commit()
        return str(seen.scalar())


def _claim_move(mover: Mover, ids: Ids, old: str, new: str) -> None:
    """Move a new row to one status by legal moves, and judge the next move."""
    who = f"{mover.name}/{mover.table}/{old} to {new}"
    row = new_row(ids)
    taken = describe(insert(mover.owner, mover.table, row))
    mover.owner.commit()
    premise("insertion of a plain row", got=taken, expected="1 rows")
    for step in WAYS[old]:
        way = mover.move(row, step)
        if not claim(MOVE, on=f"{who}/first to {step}", got=way, expected="1 rows"):
            return
    seen, then = mover.move(row, new), mover.status_of(row)
    legal = (old, new) in MOVES
    if legal:
        claim(MOVE, on=who, got=seen, expected="1 rows")
    else:  # any refusal will do, and has a SQLSTATE
        claim(MOVE, on=who, got=seen, expected="rows", relation="lacks")
    claim("status after the move", on=who, got=then, expected=new if legal else old)
