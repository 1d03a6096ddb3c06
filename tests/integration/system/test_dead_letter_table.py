"""The table of dead letters: who sees what, and which moves there are."""

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
def letters(shared: Database) -> Iterator[Database]:
    """Give one letter of A, one of B and one without a tenant."""
    with shared.connect("postgres") as connection:
        for tenant in (A, B, None):
            connection.execute(INSERT, (f"of-{tenant}", tenant, "pending"))
    yield shared
    with shared.connect("postgres") as connection:
        connection.execute("DELETE FROM worker_failed_jobs")


def seen(database: Database, role: str, tenant: uuid.UUID | None) -> set[Any]:
    """Return the tenants of the letters that a role sees."""
    with database.connect(role) as connection:
        if tenant:
            connection.execute(
                "SELECT set_config('app.current_tenant_id', %s, true)", (str(tenant),)
            )
        return {row[0] for row in connection.execute("SELECT tenant_id FROM worker_failed_jobs")}


def test_tenant_sees_its_own_letters(letters: Database) -> None:
    """A tenant sees its letters only, and nobody sees any; none sees one without a tenant."""
    assert seen(letters, "app_user", A) == {A}
    assert seen(letters, "app_user", B) == {B}
    assert seen(letters, "app_user", None) == set()


@pytest.mark.parametrize("role", ["app_rw", "app_ro"])
def test_operator_sees_every_letter(letters: Database, role: str) -> None:
    """The operators' roles see every letter, those without a tenant too."""
    assert seen(letters, role, None) == {A, B, None}


@pytest.mark.parametrize(("guc", "tenant"), [(A, A), (None, None)])
def test_worker_writes_for_whom_it_works(letters: Database, guc: Any, tenant: Any) -> None:
    """The worker's role writes a letter of its tenant, and without one a letter of nobody."""
    insert_as_worker(letters, guc, tenant)


@pytest.mark.parametrize(("guc", "tenant"), [(A, B), (A, None), (None, A)])
def test_worker_writes_for_nobody_else(letters: Database, guc: Any, tenant: Any) -> None:
    """A letter of another tenant, or of none while there is one, is refused."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        insert_as_worker(letters, guc, tenant)


def insert_as_worker(database: Database, guc: Any, tenant: Any) -> None:
    """Insert one letter as the worker's role."""
    with database.connect("app_user") as connection:
        if guc:
            connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", (str(guc),))
        assert connection.execute(INSERT, ("new", tenant, "pending")).rowcount == 1


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(STATUSES, 2)])
def test_status_moves_are_held(letters: Database, before: str, after: str) -> None:
    """An operator can make the six legal moves, and no other."""
    with letters.connect("postgres") as connection:
        connection.execute(INSERT, ("moved", A, before))
    update = "UPDATE worker_failed_jobs SET status = %s WHERE task_id = 'moved'"
    with letters.connect("app_rw") as connection:
        if (before, after) in LEGAL:
            assert connection.execute(update, (after,)).rowcount == 1
        else:
            with pytest.raises(psycopg.errors.CheckViolation, match=f"from {before} to {after}"):
                connection.execute(update, (after,))


def test_status_has_four_values(letters: Database) -> None:
    """A status outside the four is refused at the insert too."""
    with (
        letters.connect("postgres") as connection,
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
def test_letter_keeps_its_address(letters: Database, column: str, value: str) -> None:
    """An operator can change neither a letter's tenant nor its ids."""
    with (
        letters.connect("app_rw") as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="do not change"),
    ):
        connection.execute(
            f"UPDATE worker_failed_jobs SET {column} = {value} WHERE tenant_id = '{A}'"
        )


def test_letter_of_one_task_is_unique(letters: Database) -> None:
    """A second letter of one task is refused by the database."""
    with (
        letters.connect("postgres") as connection,
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
def test_other_rights_are_refused(letters: Database, role: str, refused: tuple[str, ...]) -> None:
    """The worker reads and writes, operators read and move, readers read: nothing beyond."""
    for statement in refused:
        with (
            letters.connect(role) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"),
        ):
            connection.execute(statement)
