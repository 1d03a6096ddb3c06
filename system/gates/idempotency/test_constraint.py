"""Gate idempotency: the database enforces the identity of a job."""

from __future__ import annotations

from gateproof import (
    Ids,
    Refused,
    Rows,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    migration,
    premise,
    sql,
)

from .jobs import CONSTRAINT, END, JOBS_REVISION, LANDING, START, TABLE

UNIQUE_VIOLATION = "23505"

OUTCOME, NULLABLE = "outcome of the insertion", "columns of the identity that take NULL"
SECOND, OTHER_STATUS = "second row of one identity", "row of one identity and another status"
"""Names and parts of objects of claims that falsifiers predict."""

# Only a complete, immediate index over plain columns covers every row at any time.
UNIQUE_INDEXES = """
    SELECT i.relname AS name, array_agg(a.attname::text ORDER BY a.attname::text) AS columns,
        bool_and(a.attnotnull OR x.indnullsnotdistinct) AS no_gap
    FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_attribute a ON a.attrelid = x.indrelid
        AND a.attnum = ANY((x.indkey::int2[])[0:x.indnkeyatts - 1])
    WHERE x.indrelid = %s::regclass AND x.indisunique AND x.indisvalid AND x.indimmediate
        AND x.indpred IS NULL AND x.indexprs IS NULL
    GROUP BY i.relname
"""


@criterion("IDM-04", needs=("database", "worker", "tenancy", "dead_letters.operator"))
@falsified_by(
    migration(
        "constraint-forgotten",
        JOBS_REVISION,
        f"    CONSTRAINT {CONSTRAINT}\n"
        "        UNIQUE (tenant_id, window_start, window_end, model_version),\n",
        landing=LANDING,
    ),
    expect=(OUTCOME, f"app_user/{SECOND}", "got 1 rows"),
)
@falsified_by(
    sql(
        "partial-index",
        f"ALTER TABLE {TABLE} DROP CONSTRAINT {CONSTRAINT};"
        f" CREATE UNIQUE INDEX {CONSTRAINT} ON {TABLE}"
        " (tenant_id, window_start, window_end, model_version) WHERE status = 'accepted'",
        landing=f"SELECT pg_get_indexdef('{CONSTRAINT}'::regclass)",
    ),
    expect=(OUTCOME, f"app_user/{OTHER_STATUS}", "got 1 rows"),
)
@falsified_by(
    sql(
        "nullable-model",
        f"ALTER TABLE {TABLE} ALTER COLUMN model_version DROP NOT NULL",
        landing=f"SELECT attnotnull FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass"
        " AND attname = 'model_version'",
    ),
    expect=(NULLABLE, TABLE, "got model_version"),
)
def test_the_identity_is_held_by_the_database(stack: Stack, sut: Sut, ids: Ids) -> None:
    """The database itself refuses a second row of one identity, whatever its other columns are."""
    identity = sorted((sut.tenancy.key, "window_start", "window_end", "model_version"))
    tenant, model = str(ids.uuid()), ids.slug("model")
    for role in (sut.worker.role, sut.dead_letters.operator):
        for what, status in ((SECOND, "accepted"), (OTHER_STATUS, "superseded")):
            seen = _insert_twice(stack, sut, role, tenant, model, status)
            got = seen.sqlstate if isinstance(seen, Refused) else f"{seen.count} rows"
            claim(OUTCOME, on=f"{role}/{what}", got=got, expected=UNIQUE_VIOLATION)
    nullable = stack.sql.query(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass"
        " AND attname = ANY(%s) AND NOT attnotnull",
        (TABLE, identity),
    ).column()
    # Two NULLs are not equal, so a row with NULL has no identity.
    claim(NULLABLE, on=TABLE, got=nullable, expected=[], over=identity)
    indexes = stack.sql.query(UNIQUE_INDEXES, (TABLE,)).dicts()
    claim(
        "columns of the unique indexes over every row",
        on=TABLE,
        got=[row["columns"] for row in indexes],
        relation="contains",
        expected=identity,
    )


def _insert_twice(
    stack: Stack, sut: Sut, role: str, tenant: str, model: str, status: str
) -> Rows | Refused:
    """Insert two rows of one identity, return the outcome of the second, and roll both back."""
    statement = (
        f"INSERT INTO {TABLE} ({sut.tenancy.key}, window_start, window_end, model_version,"
        " request_id, status) VALUES (%s, %s, %s, %s, %s, %s)"
    )
    with stack.sql.session(role) as session:
        session.set_local(sut.tenancy.guc, tenant)
        first = session.attempt(statement, (tenant, START, END, model, "first", "accepted"))
        inserted = isinstance(first, Rows)
        premise("a first row of the identity is inserted", on=role, got=inserted, expected=True)
        return session.attempt(statement, (tenant, START, END, model, "second", status))
