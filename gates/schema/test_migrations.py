"""Gate schema: the migrations run from nothing, and back."""

from __future__ import annotations

from gates.patching import patch
from gates.schema.definitions import differences, read_definitions, told
from gates.schema.migrating import assert_done
from harness import criterion, falsified_by, settings, sql
from harness.probes.sql import SqlProbe
from harness.stack import Stack
from harness.sut import Sut

VERSION_TABLE = "alembic_version"
"""Alembic's own note of where it stands: it stays, empty, when everything is taken back."""

TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY 1
"""


@criterion("SCH-01")
@falsified_by(
    settings("read-only", {"PGOPTIONS": "-c default_transaction_read_only=on"}),
    expect="upgrade heads on an empty database: got exit 1",
)
@falsified_by(
    patch("label-lost", "schema/falsifiers/label_lost.py"),
    expect="upgrade celery_foundation@head on an empty database: got exit",
)
@falsified_by(
    sql(
        "no-membership",
        "REVOKE app_aggregator FROM migrator",
        landing="SELECT pg_has_role('migrator', 'app_aggregator', 'MEMBER')",
        role="superuser",
        scope="server",
    ),
    expect="upgrade heads on an empty database: got exit 1",
)
@falsified_by(
    patch("hollow", "schema/falsifiers/hollow.py"),
    expect="tables after upgrade heads: got none named",
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
    patch("drop-forgotten", "schema/falsifiers/drop_forgotten.py"),
    expect="schema after the way down: got left over function enforce_dead_letter_moves()",
)
@falsified_by(
    sql(
        "way-down-blocked",
        "CREATE VIEW public.held AS SELECT id FROM kombu_message",
        landing="SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
        role="superuser",
    ),
    expect="downgrade base: got exit 1",
)
@falsified_by(
    patch("grant-forgotten", "schema/falsifiers/grant_forgotten.py"),
    expect="schema after the way down and up: got lost privilege app_ro SELECT",
)
def test_migrations_lead_down_to_nothing_and_up_to_the_same(own_stack: Stack, sut: Sut) -> None:
    """What is there after all the way down and up again is what was there before."""
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
