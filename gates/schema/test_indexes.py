"""Gate schema: the state of every index."""

from __future__ import annotations

from gateproof import Stack, at_least_one, claim, criterion

from ..described import falsified_in_sql

INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS table_name,
        i.indisunique AS is_unique, i.indisvalid AS is_valid, i.indisready AS is_ready
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
    ORDER BY 1
"""


STATES = """SELECT indexrelid::regclass, indisvalid, indisready FROM pg_index
    WHERE indrelid = '{each}'::regclass ORDER BY 1"""

# Mark the first index of a table as a failed CREATE INDEX CONCURRENTLY leaves it.
MARKED = """UPDATE pg_index SET {column} = false WHERE indexrelid =
    (SELECT min(indexrelid) FROM pg_index WHERE indrelid = '{{each}}'::regclass)"""


@criterion("SCH-07", needs="database")
@falsified_in_sql(
    "invalid-unique-index",
    MARKED.format(column="indisvalid"),
    landing=STATES,
    role="superuser",
    each=lambda sut: sut.known_tables[:1],
    target="{each}",
    expect=("state of the index", "{each}/*", "got invalid"),
)
@falsified_in_sql(
    "index-that-is-not-ready",
    MARKED.format(column="indisready"),
    landing=STATES,
    role="superuser",
    each=lambda sut: sut.known_tables[1:2],
    target="{each}",
    expect=("state of the index", "{each}/*", "got not ready"),
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
