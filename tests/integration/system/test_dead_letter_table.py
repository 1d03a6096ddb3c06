"""The table of dead-letter rows: visibility, privileges and status transitions."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from .support import Database

A, B = uuid.UUID(int=0xA << 64), uuid.UUID(int=0xB << 64)
STATUSES = ("pending", "in_progress", "resolved", "abandoned")
LEGAL = {
    ("pending", "in_progress"),
    ("pending", "resolved"),
    ("pending", "abandoned"),
    ("in_progress", "resolved"),
    ("in_progress", "pending"),
    ("in_progress", "abandoned"),
}
INSERT = (
    "INSERT INTO worker_failed_jobs (task_id, task_name, tenant_id, exception_class, status)"
    " VALUES (%s, 'n', %s, 'E', %s)"
)


@pytest.fixture
def rows(shared: Database) -> Iterator[Database]:
    """Insert one row of A, one of B and one without a tenant."""
    with shared.connect("postgres") as connection:
        for tenant in (A, B, None):
            connection.execute(INSERT, (f"of-{tenant}", tenant, "pending"))
    yield shared
    with shared.connect("postgres") as connection:
        connection.execute("DELETE FROM worker_failed_jobs")


def seen(database: Database, role: str, tenant: uuid.UUID | None) -> set[Any]:
    """Return the tenants of the rows that a role sees."""
    with database.connect(role) as connection:
        if tenant:
            connection.execute(
                "SELECT set_config('app.current_tenant_id', %s, true)", (str(tenant),)
            )
        return {row[0] for row in connection.execute("SELECT tenant_id FROM worker_failed_jobs")}


def test_tenant_sees_its_own_rows(rows: Database) -> None:
    """A tenant sees its own rows only; a session without a tenant sees none."""
    assert seen(rows, "app_user", A) == {A}
    assert seen(rows, "app_user", B) == {B}
    assert seen(rows, "app_user", None) == set()


@pytest.mark.parametrize("role", ["app_rw", "app_ro"])
def test_operator_sees_every_row(rows: Database, role: str) -> None:
    """The operators' roles see every row, including those without a tenant."""
    assert seen(rows, role, None) == {A, B, None}


@pytest.mark.parametrize(("guc", "tenant"), [(A, A), (None, None)])
def test_worker_writes_for_its_own_tenant(rows: Database, guc: Any, tenant: Any) -> None:
    """The worker's role writes rows of its tenant, and without one rows without a tenant."""
    insert_as_worker(rows, guc, tenant)


@pytest.mark.parametrize(("guc", "tenant"), [(A, B), (A, None), (None, A)])
def test_worker_cannot_write_for_another_tenant(rows: Database, guc: Any, tenant: Any) -> None:
    """A row whose tenant differs from the session's is refused, also where one of them is null."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        insert_as_worker(rows, guc, tenant)


def insert_as_worker(database: Database, guc: Any, tenant: Any) -> None:
    """Insert one row as the worker's role."""
    with database.connect("app_user") as connection:
        if guc:
            connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", (str(guc),))
        assert connection.execute(INSERT, ("new", tenant, "pending")).rowcount == 1


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(STATUSES, 2)])
def test_illegal_status_transitions_are_refused(rows: Database, before: str, after: str) -> None:
    """An operator can make the six legal status transitions, and no other."""
    with rows.connect("postgres") as connection:
        connection.execute(INSERT, ("moved", A, before))
    update = "UPDATE worker_failed_jobs SET status = %s WHERE task_id = 'moved'"
    with rows.connect("app_rw") as connection:
        if (before, after) in LEGAL:
            assert connection.execute(update, (after,)).rowcount == 1
        else:
            with pytest.raises(psycopg.errors.CheckViolation, match=f"from {before} to {after}"):
                connection.execute(update, (after,))


def test_status_has_four_values(rows: Database) -> None:
    """An insert with a status outside the four is refused."""
    with (
        rows.connect("postgres") as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="worker_failed_jobs_status_check"),
    ):
        connection.execute(INSERT, ("x", A, "lost"))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tenant_id", "gen_random_uuid()"),
        ("id", "gen_random_uuid()"),
        ("task_id", "'another'"),
    ],
)
def test_row_keeps_its_tenant_and_ids(rows: Database, column: str, value: str) -> None:
    """An operator can change neither the tenant nor the ids of a row."""
    with (
        rows.connect("app_rw") as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="do not change"),
    ):
        connection.execute(
            f"UPDATE worker_failed_jobs SET {column} = {value} WHERE tenant_id = '{A}'"
        )


def test_row_of_one_task_is_unique(rows: Database) -> None:
    """The database refuses a second row of one task."""
    with (
        rows.connect("postgres") as connection,
        pytest.raises(psycopg.errors.UniqueViolation, match="worker_failed_jobs_task_id_key"),
    ):
        connection.execute(INSERT, (f"of-{A}", A, "pending"))


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        (
            "app_user",
            ("UPDATE worker_failed_jobs SET notes = 'x'", "DELETE FROM worker_failed_jobs"),
        ),
        ("app_rw", ("DELETE FROM worker_failed_jobs",)),
        ("app_ro", ("UPDATE worker_failed_jobs SET notes = 'x'", "DELETE FROM worker_failed_jobs")),
    ],
)
def test_other_privileges_are_refused(rows: Database, role: str, refused: tuple[str, ...]) -> None:
    """The worker reads and inserts, operators read and update, readers read; all else fails."""
    for statement in refused:
        with (
            rows.connect(role) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"),
        ):
            connection.execute(statement)
