"""Gate schema: the migrations run up from an empty database, and down."""

from __future__ import annotations

from gates.schema.definitions import differences, read_definitions, told
from gates.schema.migrating import assert_done
from harness import criterion, falsified_by, migration, sql
from harness.probes.sql import SqlProbe
from harness.stack import Stack
from harness.sut import Sut

CORE_1 = "migrations/versions/core/core_0001_attribution_events.py"
CORE_2 = "migrations/versions/core/core_0002_recompute_jobs.py"
CELERY_1 = "migrations/versions/celery_foundation/celery_0001_broker_and_results.py"
CELERY_2 = "migrations/versions/celery_foundation/celery_0002_task_failures.py"

VERSION_TABLE = "alembic_version"
"""Alembic's table with the current revision: it stays, empty, after a full downgrade."""

TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY 1
"""


@criterion("SCH-01")
@falsified_by(
    migration("label-lost", CELERY_1, '("celery_foundation",)', "None"),
    expect="upgrade celery_foundation@head on an empty database: got exit",
)
@falsified_by(
    migration("extension-made-by-hand", CORE_1, "gen_random_uuid()", "uuid_generate_v4()"),
    expect="upgrade heads on an empty database: got exit 1, expected 0: "
    "sqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedFunction)",
)
@falsified_by(
    migration("never-filled-in", CORE_2, function="upgrade", body="pass"),
    expect="tables after upgrade heads: got none named attribution_recompute_jobs",
)
def test_migrations_start_from_an_empty_database(own_stack: Stack, sut: Sut) -> None:
    """All heads, and the Celery branch alone, each make their tables in an empty database."""
    everything = {*sut.celery.tables, *sut.tenancy.tables, sut.dead_letters.table}
    wanted = {
        sut.migrations.all: everything,
        **{branch: set(sut.celery.tables) for branch in sut.migrations.branches},
    }
    for revision, tables in wanted.items():
        database = own_stack.empty_database()
        probe = own_stack.sql_on(database)
        assert _tables(probe) == set(), f"premise: {database}: got tables, expected an empty one"
        done = own_stack.migrate(revision, database=database)
        assert_done(done, f"upgrade {revision} on an empty database")
        missing = tables - _tables(probe)
        assert not missing, (
            f"tables after upgrade {revision}: got none named {', '.join(sorted(missing))}, "
            f"expected {', '.join(sorted(tables))}"
        )


@criterion("SCH-04")
@falsified_by(
    sql(
        "made-by-hand",
        "CREATE INDEX ix_kombu_message_version ON kombu_message (version)",
        landing="SELECT indexname FROM pg_indexes WHERE tablename = 'kombu_message' ORDER BY 1",
    ),
    expect="lost index ix_kombu_message_version",
)
@falsified_by(
    migration(
        "drop-forgotten",
        CELERY_2,
        function="downgrade",
        body='op.execute("DROP TABLE celery_task_failures")',
    ),
    expect="schema after the way down: got left over function enforce_dead_letter_moves()",
)
@falsified_by(
    migration(
        "edited-after-it-was-run",
        CELERY_2,
        "GRANT SELECT ON celery_task_failures TO app_ro;\n",
    ),
    expect="schema after the way down and up: got lost privilege app_ro SELECT",
)
def test_migrations_lead_down_to_nothing_and_up_to_the_same(own_stack: Stack, sut: Sut) -> None:
    """The schema after a full downgrade and upgrade is the one before."""
    empty = read_definitions(own_stack.sql_on(own_stack.empty_database()))
    before = read_definitions(own_stack.sql)
    gained = {one.table for one in before - empty if one.kind == "relation"}
    missing = {*sut.celery.tables, *sut.tenancy.tables} - gained
    assert not missing, f"premise: tables before the way down: got none named {sorted(missing)}"

    how = sut.migrations
    assert_done(own_stack.migrate(how.base, down=True), f"downgrade {how.base}")
    left = {one for one in read_definitions(own_stack.sql) if one.table != VERSION_TABLE}
    unlike = differences(left, empty)
    assert not unlike, (
        f"schema after the way down: got {told(unlike)}, expected that of a database that was "
        "never migrated"
    )
    assert_done(own_stack.migrate(how.all), f"upgrade {how.all} after the way down")
    unlike = differences(read_definitions(own_stack.sql), before)
    assert not unlike, (
        f"schema after the way down and up: got {told(unlike)}, expected the one before"
    )


def _tables(probe: SqlProbe) -> set[str]:
    return set(probe.query(TABLES).column())
