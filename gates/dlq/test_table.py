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
    premise,
)

from ..described import (
    CONSTRAINTS,
    POLICIES,
    PRIVILEGES,
    TRIGGERS,
    falsified_in_rows,
    falsified_in_sql,
    other_statuses,
)
from ..schema.privileges import LESS, MORE, claim_exactly, held
from ..schema.refusal import named
from .contract import COLUMNS, INDEXED, KINDS, has, legal_moves, ways

NULL, UNIQUE = "23502 (not-null violation)", "23505 (unique violation)"
CHECK, FORBIDDEN = "23514 (check violation)", "42501 (insufficient privilege)"
"""Refusals, as outcomes show them."""

TYPE, LEADING_COLUMNS = "type of the column", "columns that a whole, valid index begins with"
INSERTION, STATEMENT = "outcome of the insertion", "outcome of the statement"
MOVE = "outcome of the move"
"""Names of claims that falsifiers predict. An outcome is a number of rows or a SQLSTATE."""

LATER = "2100-01-01T00:00:00Z"
"""A time that no other row has: a second row of a task never has the time of the first."""

IN_CATALOGUE = """
    SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns
    WHERE table_name = %s AND table_schema = ANY(current_schemas(false))
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
        "task_name": "tasks.example",
        "exception_class": "ValueError",
        "error_message": "example",
        **values,
    }


def insert(session: Session, sut: Sut, row: Mapping[str, Any]) -> Rows | Refused:
    """Try to write a row; its columns have the names that checks use."""
    described = sut.dead_letters
    names, places = ", ".join(map(described.column, row)), ", ".join(f"%({one})s" for one in row)
    return session.attempt(f"INSERT INTO {described.table} ({names}) VALUES ({places})", row)


def describe(seen: Rows | Refused) -> str:
    """Return how many rows a statement changed, or the refusal: its SQLSTATE and what it means."""
    return named(seen) if isinstance(seen, Refused) else f"{seen.count} rows"


@criterion("DLQ-01", needs=("database", "dead_letters.statuses"))
@falsified_in_sql(
    "any-status",
    """DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT conname FROM pg_constraint
            WHERE conrelid = '{table}'::regclass AND contype = 'c'
        LOOP EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT %I', name); END LOOP; END $$""",
    landing=CONSTRAINTS,
    target="{table}",
    expect=(INSERTION, "{table}/row with status 'misplaced'", "got 1 rows"),
)
@falsified_in_sql(
    "unique-for-each-moment",
    """DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT conname FROM pg_constraint
            WHERE conrelid = '{table}'::regclass AND contype = 'u'
        LOOP EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT %I', name); END LOOP;
        ALTER TABLE {table} ADD UNIQUE ({c[task_id]}, {c[failed_at]}); END $$""",
    landing=CONSTRAINTS,
    target="{table}",
    expect=(INSERTION, "{table}/second row of one task", "got 1 rows"),
)
@falsified_in_sql(
    "unique-while-new",
    """DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT conname FROM pg_constraint
            WHERE conrelid = '{table}'::regclass AND contype = 'u'
        LOOP EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT %I', name); END LOOP;
        CREATE UNIQUE INDEX gateproof_unique ON {table} ({c[task_id]})
            WHERE {c[status]} = '{new}'; END $$""",
    landing=CONSTRAINTS,
    target="{table}",
    expect=(INSERTION, "{table}/second row of a task with status '{each}'", "got 1 rows"),
    each=other_statuses,
)
def test_table_has_columns_rules_and_indexes(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Each column has its type, each rule refuses violations, each look-up has its index."""
    described = sut.dead_letters
    table = described.table
    found = {row[0]: row[1:] for row in own_stack.sql.query(IN_CATALOGUE, (table,)).rows}
    for name, (types, nullable) in COLUMNS.items():
        if not has(sut, name):
            continue
        kind, empty = found.get(described.column(name), ("none", None))
        accepted = f"^({'|'.join(types)})$"
        claim(TYPE, on=f"{table}/{name}", got=kind, expected=accepted, relation="matches")
        claim("whether the column can be null", on=f"{table}/{name}", got=empty, expected=nullable)
    _claim_rules(own_stack, sut, ids)
    leading = own_stack.sql.query(LEADING, (table,)).rows
    first = sorted({row[0] for row in leading})
    for name in INDEXED:
        if has(sut, name):
            on, column = f"{table}/{name}", described.column(name)
            claim(LEADING_COLUMNS, on=on, got=first, expected=column, relation="contains")
    primary = [row[0] for row in leading if row[2]]
    expected = [described.column("id")]
    claim("column that the primary key begins with", on=table, got=primary, expected=expected)


def _claim_rules(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Claim that a plain row gets its defaults, and each invalid row is refused, as superuser."""
    described, row = sut.dead_letters, new_row(ids)
    table = described.table
    with stack.sql.session() as session:
        taken = describe(insert(session, sut, row))
        if not claim(INSERTION, on=f"{table}/plain row", got=taken, expected="1 rows"):
            return
        _claim_defaults(session, sut, row)
        for what, broken, expected in _refusals(sut, ids, row):
            seen = describe(insert(session, sut, broken))
            claim(INSERTION, on=f"{table}/{what}", got=seen, expected=expected)
        _claim_one_row_in_any_status(session, sut, ids)
        for kind in KINDS if has(sut, "error_kind") else ():
            seen = describe(insert(session, sut, new_row(ids, error_kind=kind)))
            where = f"{table}/row with error_kind '{kind}'"
            claim(INSERTION, on=where, got=seen, expected="1 rows")
        session.rollback()


def _claim_one_row_in_any_status(session: Session, sut: Sut, ids: Ids) -> None:
    """Claim that a task has one row, whatever the status of the row is.

    A table can let rows begin in one status only; such rows are not judged here.
    """
    later = {"failed_at": LATER} if has(sut, "failed_at") else {}
    for status in sut.dead_letters.statuses:
        row = new_row(ids, status=status)
        if isinstance(insert(session, sut, row), Refused):
            continue
        second = describe(insert(session, sut, new_row(ids, **later, task_id=row["task_id"])))
        where = f"{sut.dead_letters.table}/second row of a task with status '{status}'"
        claim(INSERTION, on=where, got=second, expected=UNIQUE)


def _claim_defaults(session: Session, sut: Sut, row: Mapping[str, Any]) -> None:
    """Claim the values that the table fills in."""
    described = sut.dead_letters
    defaults = {"status": described.new, "retry_count": 0}
    filled = [name for name in ("failed_at", "id") if has(sut, name)]
    known = [name for name in defaults if has(sut, name)]
    columns = ", ".join(
        [described.column(name) for name in known]
        + [f"{described.column(name)} IS NOT NULL" for name in filled]
    )
    made = session.query(
        f"SELECT {columns} FROM {described.table}"
        f" WHERE {described.column('task_id')} = %(task_id)s",
        row,
    ).rows[0]
    claim(
        "status, retry_count, and whether failed_at and id are filled",
        on=f"{described.table}/plain row",
        got=made,
        expected=[*(defaults[name] for name in known), *(True for _ in filled)],
    )


def _refusals(
    sut: Sut, ids: Ids, row: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield rows that the table must refuse: in words, the row, and the SQLSTATE."""
    same = {"task_id": row["task_id"]}
    later = {"failed_at": LATER} if has(sut, "failed_at") else {}
    yield "second row of one task", {**new_row(ids, **later), **same}, UNIQUE
    yield "row with status 'misplaced'", new_row(ids, status="misplaced"), CHECK
    if has(sut, "error_kind"):
        yield "row with error_kind 'odd'", new_row(ids, error_kind="odd"), CHECK
    if has(sut, "retry_count"):
        yield "row with retry_count -1", new_row(ids, retry_count=-1), CHECK
    for name in ("task_id", "task_name", "exception_class"):
        yield f"row without {name}", new_row(ids, **{name: None}), NULL


@criterion(
    "DLQ-02",
    needs=(
        "database",
        "worker",
        "tenancy",
        "dead_letters.moves",
        "dead_letters.operator",
        "dead_letters.reader",
        "dead_letters.statuses",
    ),
)
@falsified_in_sql(
    "worker-deletes",
    "GRANT DELETE ON {table} TO {worker}",
    landing=PRIVILEGES,
    target="{table}",
    expect=(MORE, "{worker}/{table}", "got DELETE"),
)
@falsified_in_sql(
    "reader-notes",
    "GRANT UPDATE ({c[status]}) ON {table} TO {reader}",
    landing="SELECT attname, attacl FROM pg_attribute WHERE attrelid = '{table}'::regclass"
    " ORDER BY 1",
    target="{table}",
    expect=(MORE, "{reader}/{table}", "got UPDATE"),
)
@falsified_in_sql(
    "everyone-reads",
    "GRANT SELECT ON {table} TO PUBLIC",
    landing=PRIVILEGES,
    target="{table}",
    expect=(MORE, "{each}/{table}", "got SELECT, expected none"),
    each=lambda sut: sut.view_owners,
)
@falsified_in_sql(
    "operator-cannot-move",
    "REVOKE UPDATE ON {table} FROM {operator}",
    landing=PRIVILEGES,
    target="{table}",
    expect=(LESS, "{operator}/{table}", "got UPDATE, expected none"),
)
@falsified_in_sql(
    "operator-without-policy",
    "CREATE POLICY no_move ON {table} AS RESTRICTIVE FOR UPDATE TO {operator} USING (false)",
    landing=POLICIES,
    target="{table}",
    expect=(STATEMENT, "{operator}/{table}/moves a row", "got 0 rows"),
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
        claim_exactly(role, table, got=privileges, expected=wanted)
    _claim_used(own_stack, sut, ids)


def _claim_used(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Claim that each privilege works and the next is refused, on a tenant's and a global row."""
    table, tenant = sut.dead_letters.table, str(ids.uuid())
    rows = (new_row(ids, tenant_id=tenant), new_row(ids))
    for what, row in zip(("a tenant's row", "a global row"), rows, strict=True):
        with _as_tenant(stack, sut, row.get("tenant_id")) as session:
            seen = describe(insert(session, sut, row))
            session.commit()
        where = f"{sut.worker.role}/{table}/writes {what}"
        claim(STATEMENT, on=where, got=seen, expected="1 rows")
    one = {"task_id": rows[0]["task_id"], "other": rows[1]["task_id"]}
    described = sut.dead_letters
    task_id, status = described.column("task_id"), described.column("status")
    both = f"SELECT 1 FROM {table} WHERE {task_id} IN (%(task_id)s, %(other)s)"
    legal = described.moves[described.new][0]
    move = f"UPDATE {table} SET {status} = '{legal}' WHERE {task_id} = %(task_id)s"
    delete = f"DELETE FROM {table} WHERE {task_id} = %(task_id)s"
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


@criterion(
    "DLQ-11",
    needs=(
        "database",
        "dead_letters.operator",
        "dead_letters.moves",
        "dead_letters.statuses",
        "dead_letters.resolved",
    ),
)
@falsified_in_sql(
    "trigger-dropped",
    """DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tgname FROM pg_trigger
            WHERE tgrelid = '{table}'::regclass AND NOT tgisinternal
        LOOP EXECUTE format('DROP TRIGGER %I ON {table}', name); END LOOP; END $$""",
    landing=TRIGGERS,
    target="{table}",
    expect=(MOVE, "{operator}/{table}/{resolved} to {new}", "got 1 rows"),
)
@falsified_in_rows(
    "no-second-try",
    "IF OLD.{c[status]} = '{other}' AND NEW.{c[status]} = '{new}' THEN"
    " RAISE EXCEPTION 'no second try'; END IF; RETURN NEW;",
    when="BEFORE UPDATE",
    expect=(MOVE, "{operator}/{table}/{other} to {new}", "got P0001"),
)
def test_status_moves_only_along_the_legal_moves(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Of all moves between statuses only the legal ones work, for operators too."""
    described = sut.dead_letters
    for role in (described.operator, None):
        with own_stack.sql.session() as owner, own_stack.sql.session(role) as session:
            mover = Mover(name=role or "superuser", session=session, owner=owner, sut=sut)
            for old in ways(sut):
                for new in (status for status in described.statuses if status != old):
                    _claim_move(mover, ids, old, new)


@dataclass(frozen=True, kw_only=True)
class Mover:
    """A role that moves rows, and the session that writes and reads them."""

    name: str
    session: Session
    owner: Session
    sut: Sut

    def move(self, row: Mapping[str, Any], status: str) -> str:
        """Try to move a row, and commit; return the outcome."""
        described = self.sut.dead_letters
        column, task_id = map(described.column, ("status", "task_id"))
        update = f"UPDATE {described.table} SET {column} = %(status)s WHERE {task_id} = %(task_id)s"
        seen = describe(self.session.attempt(update, {**row, "status": status}))
        self.session.commit()
        return seen

    def status_of(self, row: Mapping[str, Any]) -> str:
        """Return a row's status as it was committed."""
        described = self.sut.dead_letters
        column, task_id = map(described.column, ("status", "task_id"))
        seen = self.owner.query(
            f"SELECT {column} FROM {described.table} WHERE {task_id} = %(task_id)s", row
        )
        self.owner.commit()
        return str(seen.scalar())


def _claim_move(mover: Mover, ids: Ids, old: str, new: str) -> None:
    """Move a new row to one status by legal moves, and judge the next move."""
    who = f"{mover.name}/{mover.sut.dead_letters.table}/{old} to {new}"
    row = new_row(ids)
    taken = describe(insert(mover.owner, mover.sut, row))
    mover.owner.commit()
    premise("insertion of a plain row", got=taken, expected="1 rows")
    for step in ways(mover.sut)[old]:
        way = mover.move(row, step)
        if not claim(MOVE, on=f"{who}/first to {step}", got=way, expected="1 rows"):
            return
    seen, then = mover.move(row, new), mover.status_of(row)
    legal = (old, new) in legal_moves(mover.sut)
    if legal:
        claim(MOVE, on=who, got=seen, expected="1 rows")
    else:  # any refusal will do, and has a SQLSTATE
        claim(MOVE, on=who, got=seen, expected="rows", relation="lacks")
    claim("status after the move", on=who, got=then, expected=new if legal else old)
