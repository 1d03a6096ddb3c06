"""Row-level security for the roles of the system."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg import sql

from .support import Database

A, B = uuid.UUID(int=0xA << 64), uuid.UUID(int=0xB << 64)
TENANT_ROLES = ("app_user", "app_rw", "app_ro")
WRITERS = ("app_user", "app_rw")
EVENTS = "attribution_events"
JOBS = "attribution_recompute_jobs"
TENANT_TABLES = (EVENTS, JOBS, "dead_events", "webhook_endpoints", "worker_failed_jobs")


@pytest.fixture(scope="module")
def filled(shared: Database) -> Database:
    """Insert three events and two jobs of tenant A, two events and one job of tenant B."""
    with shared.connect("postgres") as connection:
        for tenant, count in ((A, 3), (B, 2)):
            for number in range(count):
                connection.execute(
                    "INSERT INTO attribution_events (tenant_id, payload) VALUES (%s, %s)",
                    (tenant, f'{{"n": {number}}}'),
                )
            for number in range(count - 1):
                connection.execute(
                    "INSERT INTO attribution_recompute_jobs (tenant_id, window_start, window_end,"
                    " model_version, request_id) VALUES (%s, 'epoch', 'now', %s, 'r')",
                    (tenant, str(number)),
                )
    return shared


def as_tenant(connection: psycopg.Connection[Any], tenant: object) -> None:
    """Set the GUC for the transaction."""
    connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", (str(tenant),))


def count(connection: psycopg.Connection[Any], table: str) -> int:
    """Return the number of rows that a connection sees."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
    return int(row.fetchall()[0][0])


@pytest.mark.parametrize("role", TENANT_ROLES)
@pytest.mark.parametrize(("table", "of_a", "of_b"), [(EVENTS, 3, 2), (JOBS, 2, 1)])
def test_tenant_sees_its_own_rows(
    filled: Database, role: str, table: str, of_a: int, of_b: int
) -> None:
    """Each tenant sees all of its rows and none of another's, in every role."""
    for tenant, expected in ((A, of_a), (B, of_b)):
        with filled.connect(role) as connection:
            as_tenant(connection, tenant)
            assert count(connection, table) == expected
            others = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id <> %s")
            row = connection.execute(others.format(sql.Identifier(table)), (tenant,)).fetchone()
            assert row == (0,)


@pytest.mark.parametrize("role", TENANT_ROLES)
@pytest.mark.parametrize("table", [EVENTS, JOBS])
def test_session_without_a_tenant_sees_nothing(filled: Database, role: str, table: str) -> None:
    """No row is visible without the GUC, after a committed SET LOCAL and with an empty GUC."""
    with filled.connect(role) as connection:
        assert count(connection, table) == 0
        as_tenant(connection, A)
        connection.commit()
        assert count(connection, table) == 0
        as_tenant(connection, "")
        assert count(connection, table) == 0


@pytest.mark.parametrize("role", TENANT_ROLES)
def test_malformed_guc_sees_nothing(filled: Database, role: str) -> None:
    """A GUC that is no UUID gives an error and no rows."""
    with filled.connect(role) as connection:
        as_tenant(connection, "nonsense")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="nonsense"):
            count(connection, EVENTS)


@pytest.mark.parametrize("role", WRITERS)
def test_tenant_cannot_write_for_another(filled: Database, role: str) -> None:
    """An insert for another tenant is refused, and one for the own tenant is accepted."""
    with filled.connect(role) as connection:
        as_tenant(connection, A)
        insert = "INSERT INTO attribution_events (tenant_id) VALUES (%s)"
        connection.execute(insert, (A,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(insert, (B,))
        connection.rollback()


@pytest.mark.parametrize("role", WRITERS)
@pytest.mark.parametrize(
    "statement",
    ["UPDATE attribution_events SET event_type = 'x'", "DELETE FROM attribution_events"],
)
def test_tenant_cannot_change_rows_of_another(filled: Database, role: str, statement: str) -> None:
    """Updates and deletes affect the tenant's own rows only."""
    with filled.connect(role) as connection:
        as_tenant(connection, A)
        assert connection.execute(f"{statement} WHERE tenant_id = '{B}'").rowcount == 0
        assert connection.execute(statement).rowcount == 3
        connection.rollback()


@pytest.mark.parametrize("role", WRITERS)
def test_tenant_cannot_move_a_row_to_another(filled: Database, role: str) -> None:
    """An update that moves a row to another tenant is refused."""
    with filled.connect(role) as connection:
        as_tenant(connection, A)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute("UPDATE attribution_events SET tenant_id = %s", (B,))


def test_reader_cannot_write(filled: Database) -> None:
    """`app_ro` may only read."""
    with filled.connect("app_ro") as connection:
        as_tenant(connection, A)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
            connection.execute("DELETE FROM attribution_events")


def test_same_window_of_another_tenant_is_another_row(filled: Database) -> None:
    """The unique key includes the tenant: only a duplicate within one tenant is refused."""
    insert = (
        "INSERT INTO attribution_recompute_jobs (tenant_id, window_start, window_end,"
        " model_version, request_id) VALUES (%s, '2026-01-01', '2026-01-02', 'm', 'r')"
    )
    with filled.connect("postgres") as connection:
        connection.execute(insert, (A,))
        connection.execute(insert, (B,))
        with pytest.raises(psycopg.errors.UniqueViolation, match="uq_attribution_recompute_jobs_w"):
            connection.execute(insert, (A,))
        connection.rollback()


@pytest.mark.parametrize("role", TENANT_ROLES)
def test_materialized_view_cannot_be_read(filled: Database, role: str) -> None:
    """No tenant role can read the materialized view itself, to which no policy applies."""
    with (
        filled.connect(role) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"),
    ):
        count(connection, "attribution_daily")


@pytest.mark.parametrize("role", TENANT_ROLES)
def test_filtered_view_shows_the_rows_of_the_tenant(filled: Database, role: str) -> None:
    """The view shows a tenant its own refreshed rows, and shows none without a tenant."""
    with filled.connect("app_user") as connection:
        names = connection.execute("SELECT refresh_all_materialized_views()").fetchone()
        assert names == (["attribution_daily"],)
    assert filled.rows("SELECT sum(events) FROM attribution_daily") == [(5,)]
    for tenant, events in ((A, 3), (B, 2)):
        with filled.connect(role) as connection:
            as_tenant(connection, tenant)
            total = connection.execute("SELECT sum(events) FROM attribution_daily_current")
            assert total.fetchone() == (events,)
    with filled.connect(role) as connection:
        assert count(connection, "attribution_daily_current") == 0


def test_filtered_view_is_a_security_barrier(filled: Database) -> None:
    """A low-cost function in the query's WHERE never sees another tenant's rows."""
    with filled.connect("postgres") as connection:
        connection.execute(
            "CREATE FUNCTION spy(uuid) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS "
            "$$ BEGIN RAISE NOTICE 'seen %', $1; RETURN true; END $$"
        )
    with filled.connect("app_user") as connection:
        seen: list[str] = []
        connection.add_notice_handler(lambda notice: seen.append(str(notice.message_primary)))
        as_tenant(connection, A)
        connection.execute("SELECT refresh_all_materialized_views()")
        connection.execute("SELECT * FROM attribution_daily_current WHERE spy(tenant_id)")
        assert seen
        assert not [line for line in seen if str(B) in line]


def test_only_the_worker_role_can_refresh(filled: Database) -> None:
    """The login roles other than `app_user` cannot refresh the materialized views."""
    for role in ("app_rw", "app_ro"):
        with (
            filled.connect(role) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"),
        ):
            connection.execute("SELECT refresh_all_materialized_views()")


def test_security_definer_function_has_a_fixed_path(filled: Database) -> None:
    """Every SECURITY DEFINER function fixes its search_path, with temporary objects last."""
    rows = filled.rows(
        "SELECT proname, proconfig, pg_get_userbyid(proowner) FROM pg_proc "
        "WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert {owner for name, _, owner in rows if name == "refresh_all_materialized_views"} == {
        "app_aggregator"
    }
    assert len(rows) > 1
    assert [path for _, path, _ in rows] == [["search_path=pg_catalog, pg_temp"]] * len(rows)


def test_every_tenant_table_is_forced(filled: Database) -> None:
    """Each table with a tenant id has row-level security enabled and forced, and a policy."""
    rows = filled.rows(
        "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,"
        " EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relkind = 'r' AND a.attname = 'tenant_id' ORDER BY 1"
    )
    assert rows == [(name, True, True, True) for name in TENANT_TABLES]
