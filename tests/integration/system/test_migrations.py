"""Migrations: every branch, upgrade and downgrade, and the resulting schema."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.postgres import PROVISION

from .support import ROOT, Database, clean_environment

CELERY_TABLES = ["celery_tasksetmeta", "celery_taskmeta", "kombu_message", "kombu_queue"]
PRIVILEGES = ["DELETE", "INSERT", "SELECT", "UPDATE"]
PUBLISHING = {"kombu_queue": ("INSERT", "SELECT"), "kombu_message": ("INSERT",)}
RECEIVING = PUBLISHING
INSERT_ROW = """
    INSERT INTO {table} (task_id, task_name, tenant_id, exception_class)
    VALUES ('t-1', 'n', '7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e', 'E')
"""
DEFINITIONS = """
    SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = %(table)s::regclass
    UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE tablename = %(table)s::text
    UNION ALL SELECT 'policy', policyname, concat(cmd, roles, qual, with_check)
        FROM pg_policies WHERE tablename = %(table)s::text
    UNION ALL SELECT 'privilege', grantee, privilege_type
        FROM information_schema.role_table_grants WHERE table_name = %(table)s::text
    UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE tgrelid = %(table)s::regclass
    UNION ALL SELECT 'security', relrowsecurity::text, relforcerowsecurity::text FROM pg_class
        WHERE oid = %(table)s::regclass
    UNION ALL SELECT 'columns', column_name, concat(data_type, is_nullable, column_default)
        FROM information_schema.columns WHERE table_name = %(table)s::text
    ORDER BY 1, 2, 3
"""


def migrated(database: Database, command: str, revision: str) -> Database:
    """Migrate a database, assert that it succeeded, and return the database."""
    done = database.migrate(command, revision)
    assert done.returncode == 0, done.stdout + done.stderr
    return database


def dump(database: Database) -> str:
    """Return the database's schema as pg_dump writes it, without Alembic's own table."""
    server = database.server
    done = subprocess.run(
        [
            *(str(server.binaries / "pg_dump"), "--schema-only", "--restrict-key=same"),
            *("--exclude-table=alembic_version", database.dsn("postgres")),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def describe(database: Database, table: str) -> list[tuple[Any, ...]]:
    """Return everything that belongs to a table, as rows of kind, name and definition."""
    with database.connect("postgres") as connection:
        return connection.execute(DEFINITIONS, {"table": table}).fetchall()


def test_heads_build_the_whole_schema(database: Database) -> None:
    """After `upgrade heads` the tables of all branches exist, all owned by the migration role."""
    tables = database.rows(
        "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    )
    assert tables == [
        (name, "migrator")
        for name in sorted(
            [
                *CELERY_TABLES,
                *("alembic_version", "attribution_events", "attribution_recompute_jobs"),
                *("dead_events", "webhook_endpoints", "worker_failed_jobs"),
            ]
        )
    ]


def test_celery_branch_stands_alone(empty: Database) -> None:
    """`upgrade celery_foundation@head` works on an empty database, without the core."""
    migrated(empty, "upgrade", "celery_foundation@head")
    names = [
        name for (name,) in empty.rows("SELECT tablename FROM pg_tables WHERE schemaname='public'")
    ]
    assert {*CELERY_TABLES, "worker_failed_jobs"} <= set(names)
    assert not [name for name in names if name.startswith("attribution")]


def test_core_branch_stands_alone(empty: Database) -> None:
    """`upgrade core@head` works on an empty database, without the Celery branch."""
    migrated(empty, "upgrade", "core@head")
    assert empty.rows("SELECT count(*) FROM attribution_daily") == [(0,)]


def test_downgrade_and_upgrade_restore_the_same_schema(empty: Database) -> None:
    """A downgrade to base leaves an empty schema, and a new upgrade gives the same schema again."""
    before = dump(empty)
    first = dump(migrated(empty, "upgrade", "heads"))
    assert "CREATE TABLE public.worker_failed_jobs" in first
    assert dump(migrated(empty, "downgrade", "base")) == before
    assert dump(migrated(empty, "upgrade", "heads")) == first


def test_rename_keeps_everything_both_ways(empty: Database) -> None:
    """Rows, constraints, indexes, policies and privileges survive the rename and its reverse."""
    migrated(empty, "upgrade", "celery_0002")
    old = describe(empty, "celery_task_failures")
    assert {row[0] for row in old} == {
        *("columns", "constraint", "index", "policy", "privilege", "security", "trigger")
    }
    with empty.connect("postgres") as connection:
        connection.execute(INSERT_ROW.format(table="celery_task_failures"))
    migrated(empty, "upgrade", "celery_0003")
    new = describe(empty, "worker_failed_jobs")
    assert not [row for row in new if "celery_task_failures" in str(row)]
    assert new == sorted(
        tuple(str(part).replace("celery_task_failures", "worker_failed_jobs") for part in row)
        for row in old
    )
    assert empty.rows("SELECT task_id, status FROM worker_failed_jobs") == [("t-1", "pending")]
    migrated(empty, "downgrade", "celery_0002")
    assert describe(empty, "celery_task_failures") == old
    assert empty.rows("SELECT task_id FROM celery_task_failures") == [("t-1",)]


@pytest.mark.parametrize("table", CELERY_TABLES)
def test_worker_role_has_exactly_four_privileges(shared: Database, table: str) -> None:
    """`app_user` reads and writes the Celery tables; operators and the API publish, no more."""
    privileges = shared.rows(
        "SELECT grantee, privilege_type FROM information_schema.role_table_grants "
        "WHERE table_name = %s AND grantee <> 'migrator' ORDER BY 1, 2",
        table,
    )
    published = [("app_ingest", privilege) for privilege in RECEIVING.get(table, ())]
    published += [("app_rw", privilege) for privilege in PUBLISHING.get(table, ())]
    assert privileges == published + [("app_user", privilege) for privilege in PRIVILEGES]


def test_worker_role_has_no_ddl(shared: Database) -> None:
    """`app_user` can create nothing, neither in the schema nor in the database nor temporarily."""
    assert shared.rows(
        "SELECT has_schema_privilege('app_user', 'public', 'CREATE'),"
        " has_database_privilege('app_user', current_database(), 'CREATE'),"
        " has_database_privilege('app_user', current_database(), 'TEMP'),"
        " has_schema_privilege('migrator', 'public', 'CREATE')"
    ) == [(False, False, False, True)]


def test_aggregator_keeps_no_create(shared: Database) -> None:
    """The migration revokes the CREATE privilege that it grants `app_aggregator` temporarily."""
    assert shared.rows("SELECT has_schema_privilege('app_aggregator', 'public', 'CREATE')") == [
        (False,)
    ]


def test_roles_are_ordinary(shared: Database) -> None:
    """No role is superuser or bypasses policies, and only the migrator is a member of another."""
    assert shared.rows(
        "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin FROM pg_roles "
        "WHERE rolname ~ '^(app_|migrator)' ORDER BY 1"
    ) == [
        ("app_aggregator", False, False, False),
        ("app_ingest", False, False, True),
        ("app_ro", False, False, True),
        ("app_rw", False, False, True),
        ("app_user", False, False, True),
        ("migrator", False, False, True),
    ]
    assert shared.rows(
        "SELECT m.rolname, r.rolname FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member "
        "JOIN pg_roles r ON r.oid = a.roleid WHERE m.rolname ~ '^(app_|migrator)'"
    ) == [("migrator", "app_aggregator")]


def test_provisioning_is_idempotent(database: Database) -> None:
    """Both provisioning files can run again and change nothing."""
    before = dump(database)
    with database.server.admin(database.name) as connection:
        for name in ("server.sql", "database.sql"):
            connection.execute((PROVISION / name).read_text())
    assert dump(database) == before


def test_installed_celery_finds_nothing_to_alter(shared: Database) -> None:
    """The result tables have exactly the columns of the installed Celery's models."""
    from celery.backends.database import models  # (only this test needs Celery's models)

    for table in (models.TaskExtended.__table__, models.TaskSet.__table__):
        found = shared.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s", table.name
        )
        assert {name for (name,) in found} == {column.name for column in table.columns}


@pytest.mark.parametrize(
    "scheme", ["postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"]
)
def test_every_dsn_form_migrates(empty: Database, scheme: str) -> None:
    """The migrations accept every form of DSN, and do not print its password."""
    dsn = empty.dsn("migrator").replace("postgresql:", f"{scheme}:") + "?ssl=prefer"
    done = alembic({"DATABASE_URL": dsn}, "current")
    assert done.returncode == 0, done.stderr
    assert empty.server.password not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("", "DATABASE_URL: got nothing, expected a PostgreSQL URL"),
        ("mysql://u:hidden@h/d", "DATABASE_URL: got scheme 'mysql'"),
        ("postgresql://migrator:hidden@127.0.0.1:1/d", "database: got no connection"),
    ],
)
def test_bad_dsn_is_one_line(dsn: str, message: str) -> None:
    """A DSN that cannot be used gives an error message without a traceback and without the DSN."""
    done = alembic({"DATABASE_URL": dsn}, "upgrade", "heads")
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "hidden" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def alembic(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run Alembic with the given environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", *words],
        cwd=ROOT,
        env={**clean_environment(), "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
