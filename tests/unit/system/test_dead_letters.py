"""Dead letters: what is written about a failure."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from celery.app.task import Context
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import OperationalError

from system import database, dead_letters
from system.errors import TenantError
from system.identity import identify

TENANT = "7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e"


def make(function: Any, error: BaseException, **request: Any) -> dead_letters.DeadLetter:
    """Describe the failure of a function that ran as a task."""
    context = Context({"id": "id-1", "args": [], "kwargs": {}, **request})
    task = SimpleNamespace(name="app.tasks.llm.route", run=function, request=context)
    return dead_letters.describe(task, identify(task, context), error)


def function(*args: Any, **kwargs: Any) -> None:
    """Take anything."""


def test_letter_says_what_happened() -> None:
    """A letter has the task, its tenant, its arguments and the error."""
    letter = make(function, LookupError("lost"), kwargs={"tenant_id": TENANT, "n": 1}, args=["a"])
    assert letter.identity.task_name == "app.tasks.llm.route"
    assert (letter.identity.task_id, letter.identity.tenant_id) == ("id-1", TENANT)
    assert json.loads(letter.args) == ["a"]
    assert json.loads(letter.kwargs) == {"tenant_id": TENANT, "n": 1}
    assert (letter.exception_class, letter.error_message) == ("LookupError", "lost")
    assert letter.queue == "llm"
    assert letter.traceback is not None
    assert "LookupError: lost" in letter.traceback


def test_letter_of_a_foreign_tenant_id_has_none() -> None:
    """A tenant that is no UUID leaves the row without one, and stays in the arguments."""
    letter = make(function, TenantError("x"), kwargs={"tenant_id": "nope"})
    assert letter.identity.tenant_id is None
    assert json.loads(letter.kwargs) == {"tenant_id": "nope"}


def test_letter_hides_secrets_everywhere() -> None:
    """A sensitive value is in no part of the letter, even where the error repeats it."""
    secret = "hunter2-hunter2"
    letter = make(
        function, ValueError(f"bad {secret}"), kwargs={"password": secret, "a": [{"token": secret}]}
    )
    assert secret not in str(letter)
    assert letter.error_message == "bad [masked]"


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("select 1", {}, psycopg2.OperationalError("gone")),
        ConnectionResetError("gone"),
        TimeoutError("late"),
        SoftTimeLimitExceeded(),
    ],
)
def test_passing_trouble_is_transient(error: BaseException) -> None:
    """Lost connections and time limits are worth another try."""
    assert make(function, error).error_kind == "transient"


@pytest.mark.parametrize(
    "error", [ValueError("x"), TypeError("x"), TenantError("x"), KeyError("x")]
)
def test_other_trouble_is_permanent(error: BaseException) -> None:
    """An error of the task or its arguments comes again however often it is tried."""
    assert make(function, error).error_kind == "permanent"


@pytest.mark.parametrize(
    ("routing_key", "task_name", "queue"),
    [
        ("llm.task", "app.tasks.llm.route", "llm"),
        ("attribution.task", "app.tasks.llm.route", "attribution"),
        (None, "app.tasks.maintenance.x", "maintenance"),
        ("elsewhere", "other", "elsewhere"),
        (None, "other", None),
    ],
)
def test_queue_is_found(routing_key: str | None, task_name: str, queue: str | None) -> None:
    """The queue is that of the routing key, else that of the task's name."""
    info = {"routing_key": routing_key}
    assert dead_letters.queue_of(info, task_name=task_name) == queue


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"kwargs": {"correlation_id": "k"}, "system_correlation_id": "h"}, "k"),
        ({"kwargs": {}, "system_correlation_id": "h"}, "h"),
        ({"kwargs": {}}, "id-1"),
    ],
)
def test_correlation_id_is_found(request_fields: dict[str, Any], expected: str) -> None:
    """The correlation id is the argument's, else the header's, else the task's id."""
    assert make(function, ValueError(), **request_fields).identity.correlation_id == expected


def test_failed_insert_is_one_line_without_the_payload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A letter that cannot be written is one error line, which repeats nothing of the letter."""
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        dead_letters, "log", SimpleNamespace(error=lambda event, **more: said.append((event, more)))
    )

    def refuse(*_: Any) -> Any:
        raise OperationalError("INSERT payload-1", {"x": "payload-2"}, Exception("payload-3"))

    monkeypatch.setattr(database, "transaction", refuse)
    context = Context({"id": "id-1", "args": [], "kwargs": {"x": "payload-2"}})
    task = SimpleNamespace(name="n", run=function, request=context)
    dead_letters.record_failure(task, "id-1", ValueError("payload-4"))
    assert [event for event, _ in said] == ["dead letter not written"]
    assert said[0][1]["task_id"] == "id-1"
    assert said[0][1]["error"] == "sqlalchemy.exc.OperationalError"
    assert "payload" not in str(said)
