"""An error that a wrong name of the description caused names its key and the nearest names."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from gateproof.base.skip import NotDescribedError
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.stack.misnamed import explained

DESCRIBED = """
name = "orders"
root = "."

[celery]
app = "orders.jobs:app"

[logs]
timestamp = "when"
message = "event"
task_name = "task"
task_id = "id"
success = "done"
failure = "failed"

[task]
"orders.ping" = { queue = "orders" }

[tenancy]
guc = "orders.shop"
key = "shop_idd"

[broker]
kind = "sqla"
tables = ["kombu_queues"]
"""
NAMES = {"column": {"shop_id", "id"}, "table": {"kombu_queue", "kombu_message"}}


@pytest.fixture
def sut(tmp_path: Path) -> Sut:
    """A description with three wrong names."""
    path = tmp_path / "sut.toml"
    path.write_text(DESCRIBED, encoding="utf-8")
    return load_sut(path)


def words(sut: Sut, error: BaseException) -> str:
    """Return the explanation of an error, or nothing."""
    found = explained(sut, error, lambda kind: NAMES.get(kind, set()))
    assert found is None or isinstance(found, NotDescribedError)
    return str(found or "")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            psycopg.errors.UndefinedColumn('column "shop_idd" does not exist'),
            "tenancy.key: got the column shop_idd, expected one that exists, such as shop_id",
        ),
        (
            psycopg.errors.UndefinedColumn("column t.shop_idd does not exist"),
            "tenancy.key: got the column shop_idd",
        ),
        (
            psycopg.errors.UndefinedTable('relation "kombu_queues" does not exist'),
            "broker.tables: got the table kombu_queues, expected one that exists, such as kombu_q",
        ),
        (KeyError("when"), "logs.timestamp: got the name when, expected one that exists; correct"),
    ],
)
def test_wrong_name_is_explained_by_its_key(sut: Sut, error: Exception, expected: str) -> None:
    """The message has the key, the wrong name, and the nearest existing ones."""
    assert expected in words(sut, error)


def test_wrong_name_behind_another_error_is_explained(sut: Sut) -> None:
    """A refusal to a role has the error of PostgreSQL as its cause."""
    refused = AssertionError("role: got 42703")
    refused.__cause__ = psycopg.errors.UndefinedColumn('column "shop_idd" does not exist')
    assert "tenancy.key" in words(sut, refused)


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.UndefinedColumn('column "other" does not exist'),
        psycopg.errors.CheckViolation('column "shop_idd" does not exist'),
        KeyError("nothing"),
        KeyError(),
        AssertionError("shop_idd"),
    ],
)
def test_other_error_is_not_explained(sut: Sut, error: Exception) -> None:
    """An error about a name that no key has, or about something else, stays as it is."""
    assert words(sut, error) == ""
