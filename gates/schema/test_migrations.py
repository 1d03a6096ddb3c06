"""Gate schema: the migrations upgrade an empty database, and downgrade it again."""

from __future__ import annotations

from collections.abc import Iterable

from gateproof import (
    SqlProbe,
    Stack,
    Sut,
    at_least_one,
    claim,
    criterion,
    premise,
)

from ..described import falsified_in_sql
from .definitions import differences, read_definitions
from .migrating import DONE, claim_done
from .sequences import bare

EMPTY = "differences from an empty database after the downgrade"
AGAIN = "differences from the schema before downgrade and upgrade"

TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY 1
"""
VERSIONS = """
    SELECT c.relname::text FROM pg_class c WHERE c.oid = to_regclass(%(table)s)
    UNION ALL SELECT s.relname::text FROM pg_depend d
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    WHERE d.refobjid = to_regclass(%(table)s) AND d.classid = 'pg_class'::regclass
"""
"""The table of the migration tool and the sequence of its ids: both may stay."""


def of_others(sut: Sut) -> tuple[str, ...]:
    """Return the first described table that is not the broker's, if there is one."""
    return tuple(one for one in sut.known_tables if one not in sut.broker.tables)[:1]


@criterion("SCH-01", needs=("database", "migrations.branches", "broker.kind=sqla", "broker.tables"))
# Every new database has the view, so a table of its name cannot be created.
@falsified_in_sql(
    "name-of-a-table-taken",
    "CREATE VIEW {each} AS SELECT 1 AS taken",
    landing="SELECT viewname FROM pg_views WHERE viewname = '{each}'",
    role="superuser",
    in_new=True,
    each=of_others,
    expect=(DONE, "upgrade {all}/empty database", "got exit "),
)
@falsified_in_sql(
    "name-of-a-celery-table-taken",
    "CREATE VIEW {last} AS SELECT 1 AS taken",
    landing="SELECT viewname FROM pg_views WHERE viewname = '{last}'",
    role="superuser",
    in_new=True,
    expect=("branches that create Celery's tables alone", "", "got none"),
)
def test_migrations_start_from_an_empty_database(empty_stack: Stack, sut: Sut) -> None:
    """All heads create every table, each branch succeeds alone, and one creates Celery's tables."""
    all_of_them = sut.migrations.all
    missing = named(sut.known_tables) - _tables_after(empty_stack, all_of_them)
    claim("missing tables", on=f"upgrade {all_of_them}", got=missing, expected=[])
    branches = at_least_one(f"{sut.path.name}: migrations.branches", sut.migrations.branches)
    of_celery = at_least_one(f"{sut.path.name}: broker.tables", sut.broker.tables)
    made = {branch: _tables_after(empty_stack, branch) for branch in branches}
    whole = [branch for branch, tables in made.items() if named(of_celery) <= tables]
    claim("branches that create Celery's tables alone", got=len(whole) or "none", expected=1)


@criterion("SCH-04", needs=("database", "migrations.down"))
@falsified_in_sql(
    "made-by-hand",
    "CREATE INDEX gateproof_by_hand ON {each} ((true))",
    landing="SELECT indexname FROM pg_indexes WHERE indexname = 'gateproof_by_hand'",
    each=lambda sut: sut.known_tables[:1],
    expect=(AGAIN, "", "lost index gateproof_by_hand"),
)
@falsified_in_sql(
    "left-after-the-way-down",
    "CREATE FUNCTION gateproof_left() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    landing="SELECT proname FROM pg_proc WHERE proname = 'gateproof_left'",
    expect=(EMPTY, "", "left over function gateproof_left()"),
)
@falsified_in_sql(
    "way-down-refused",
    "CREATE VIEW gateproof_needs AS SELECT * FROM {each}",
    landing="SELECT viewname FROM pg_views WHERE viewname = 'gateproof_needs'",
    each=lambda sut: sut.known_tables[:1],
    expect=(DONE, "downgrade {base}", "got exit "),
)
def test_downgrade_and_upgrade_restore_the_same_schema(own_stack: Stack, sut: Sut) -> None:
    """A complete downgrade removes everything, and an upgrade then gives the same schema."""
    empty = read_definitions(own_stack.sql_on(own_stack.empty_database()))
    before = read_definitions(own_stack.sql)
    gained = {one.table for one in before - empty if one.kind == "relation"}
    at_least_one("tables that the migrations create", gained)
    missing = named(sut.known_tables) - gained
    premise("missing tables before the downgrade", got=missing, expected=set())

    how = sut.migrations
    claim_done(own_stack.migrate(how.base, down=True), f"downgrade {how.base}")
    kept = own_stack.sql.query(VERSIONS, {"table": how.version_table}).column()
    left = {one for one in read_definitions(own_stack.sql) if one.table not in kept}
    claim(EMPTY, got=differences(left, empty), expected=[])
    if claim_done(own_stack.migrate(how.all), f"upgrade {how.all} after the downgrade"):
        claim(AGAIN, got=differences(read_definitions(own_stack.sql), before), expected=[])


def named(tables: Iterable[str]) -> set[str]:
    """Return described names of tables as the catalogue has them, without schema and quotes."""
    return {bare(one) for one in tables}


def _tables_after(stack: Stack, revision: str) -> set[str]:
    """Upgrade an empty database to a revision, claim that it succeeds, and return the tables."""
    database = stack.empty_database()
    probe = stack.sql_on(database)
    premise("tables of an empty database", got=_tables(probe), expected=set())
    claim_done(stack.migrate(revision, database=database), f"upgrade {revision}/empty database")
    return _tables(probe)


def _tables(probe: SqlProbe) -> set[str]:
    return set(probe.query(TABLES).column())
