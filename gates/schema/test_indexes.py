"""Gate schema: the state of every index."""

from __future__ import annotations

from gateproof import Stack, at_least_one, claim, criterion, falsified_by, sql

INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS table_name,
        i.indisunique AS is_unique, i.indisvalid AS is_valid, i.indisready AS is_ready
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
    ORDER BY 1
"""


def marked(index: str, column: str) -> str:
    """Return the statement that marks an index as a failed CREATE INDEX CONCURRENTLY leaves it."""
    return f"UPDATE pg_index SET {column} = false WHERE indexrelid = '{index}'::regclass"


def state_of(index: str) -> str:
    """Return the landing query for the state of an index."""
    return f"SELECT indisvalid, indisready FROM pg_index WHERE indexrelid = '{index}'::regclass"


@criterion("SCH-07", needs="database")
@falsified_by(
    sql(
        "invalid-unique-index",
        marked("uq_attribution_recompute_jobs_window", "indisvalid"),
        landing=state_of("uq_attribution_recompute_jobs_window"),
        role="superuser",
    ),
    expect=(
        "state of the index",
        "attribution_recompute_jobs/uq_attribution_recompute_jobs_window",
        "got invalid",
    ),
)
@falsified_by(
    sql(
        "index-that-is-not-ready",
        marked("ix_attribution_events_tenant_id_occurred_at", "indisready"),
        landing=state_of("ix_attribution_events_tenant_id_occurred_at"),
        role="superuser",
    ),
    expect=(
        "state of the index",
        "attribution_events/ix_attribution_events_tenant_id_occurred_at",
        "got not ready",
    ),
)
def test_every_index_is_valid(stack: Stack) -> None:
    """No index is invalid or not ready, as PostgreSQL leaves one that could not be built."""
    for row in at_least_one("indexes", stack.sql.query(INDEXES).dicts()):
        states = (("is_valid", "invalid"), ("is_ready", "not ready"))
        got = [word for column, word in states if not row[column]]
        claim(
            "state of the index",
            on=f"{row['table_name']}/{row['name']}",
            got=", ".join(got) or "valid and ready",
            expected="valid and ready",
        )
