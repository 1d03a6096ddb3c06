"""Gate schema: the migrations upgrade an empty database, and downgrade it again."""

from __future__ import annotations

from collections.abc import Mapping

from gateproof import (
    SqlProbe,
    Stack,
    Sut,
    at_least_one,
    criterion,
    falsified_by,
    migration,
    premise,
    sql,
)

from .definitions import differences, read_definitions, shown
from .migrating import assert_done

CORE_1 = "migrations/versions/core/core_0001_attribution_events.py"
CORE_2 = "migrations/versions/core/core_0002_recompute_jobs.py"
CELERY_1 = "migrations/versions/celery_foundation/celery_0001_broker_and_results.py"
CELERY_2 = "migrations/versions/celery_foundation/celery_0002_task_failures.py"

VERSION_TABLE = "alembic_version"
"""Alembic's own table of the current revision. It stays, empty, after a complete downgrade."""

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
    migration(
        "results-need-the-other-branch",
        "migrations/env.py",
        "            context.run_migrations()\n",
        "            context.run_migrations()\n"
        "        connection.exec_driver_sql(\"DO $$ BEGIN IF to_regclass('attribution_events')"
        ' IS NULL THEN DROP TABLE celery_tasksetmeta; END IF; END $$")\n'
        "        connection.commit()\n",
    ),
    expect="one branch alone: got celery_foundation@head without celery_tasksetmeta",
)
@falsified_by(
    migration("never-filled-in", CORE_2, function="upgrade", body="pass"),
    expect="tables after upgrade heads: got none named attribution_recompute_jobs",
)
def test_migrations_start_from_an_empty_database(empty_stack: Stack, sut: Sut) -> None:
    """All heads create every table, each branch succeeds alone, and one creates Celery's tables."""
    all_of_them = sut.migrations.all
    everything = {*sut.celery.tables, *sut.tenancy.listed, sut.dead_letters.table}
    missing = everything - _tables_after(empty_stack, all_of_them)
    assert not missing, (
        f"tables after upgrade {all_of_them}: got none named {', '.join(sorted(missing))}, "
        f"expected {', '.join(sorted(everything))}"
    )
    branches = at_least_one(f"{sut.path.name}: migrations.branches", sut.migrations.branches)
    made = {branch: _tables_after(empty_stack, branch) for branch in branches}
    of_celery = at_least_one(f"{sut.path.name}: celery.tables", sut.celery.tables)
    lacking = {branch: set(of_celery) - tables for branch, tables in made.items()}
    assert not all(lacking.values()), (
        f"Celery's tables after the upgrade of one branch alone: got {_named(lacking)}, expected "
        "one branch that lacks none"
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
    expect="schema after the downgrade: got left over function enforce_dead_letter_moves()",
)
@falsified_by(
    migration(
        "edited-after-it-was-run",
        CELERY_2,
        "GRANT SELECT ON celery_task_failures TO app_ro;\n",
    ),
    expect="schema after downgrade and upgrade: got lost privilege app_ro SELECT",
)
def test_downgrade_and_upgrade_restore_the_same_schema(own_stack: Stack, sut: Sut) -> None:
    """A complete downgrade removes everything, and an upgrade then gives the same schema."""
    empty = read_definitions(own_stack.sql_on(own_stack.empty_database()))
    before = read_definitions(own_stack.sql)
    gained = {one.table for one in before - empty if one.kind == "relation"}
    at_least_one("tables that the migrations create", gained)
    missing = {*sut.celery.tables, *sut.tenancy.listed} - gained
    premise("missing tables before the downgrade", got=missing, expected=set())

    how = sut.migrations
    assert_done(own_stack.migrate(how.base, down=True), f"downgrade {how.base}")
    left = {one for one in read_definitions(own_stack.sql) if one.table != VERSION_TABLE}
    unlike = differences(left, empty)
    assert not unlike, (
        f"schema after the downgrade: got {shown(unlike)}, expected that of an empty database"
    )
    assert_done(own_stack.migrate(how.all), f"upgrade {how.all} after the downgrade")
    unlike = differences(read_definitions(own_stack.sql), before)
    assert not unlike, (
        f"schema after downgrade and upgrade: got {shown(unlike)}, expected the one before"
    )


def _tables_after(stack: Stack, revision: str) -> set[str]:
    """Upgrade an empty database to a revision, judge that it succeeded, and return the tables."""
    database = stack.empty_database()
    probe = stack.sql_on(database)
    premise("tables of an empty database", on=database, got=_tables(probe), expected=set())
    done = stack.migrate(revision, database=database)
    assert_done(done, f"upgrade {revision} on an empty database")
    return _tables(probe)


def _named(lacking: Mapping[str, set[str]]) -> str:
    return ", ".join(
        f"{branch} without {' and '.join(sorted(lacking[branch]))}" for branch in lacking
    )


def _tables(probe: SqlProbe) -> set[str]:
    return set(probe.query(TABLES).column())
