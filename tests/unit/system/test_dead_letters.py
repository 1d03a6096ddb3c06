"""Dead-letter rows: how a failure is described, and where its row is stored."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
import structlog
from celery.app.task import Context
from celery.backends.database import DatabaseBackend
from celery.exceptions import BackendStoreError, SoftTimeLimitExceeded
from celery.utils.serialization import UnpickleableExceptionWrapper
from kombu.message import Message
from sqlalchemy.exc import OperationalError

from system.connections import database
from system.dead_letters import row
from system.dead_letters.capture import consumer, failure, signal
from system.dead_letters.capture.message import describe_message, stable_id
from system.dead_letters.storage import keeper
from system.errors import TenantError
from system.transport import endings

TENANT = "7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e"


def make(function: Any, error: BaseException, **request: Any) -> row.DeadLetter:
    """Describe the failure of a function that ran as a task."""
    context = Context({"id": "id-1", "args": [], "kwargs": {}, **request})
    task = SimpleNamespace(name="app.tasks.llm.route", run=function, request=context)
    return row.describe(task, context, error)


def function(*args: Any, **kwargs: Any) -> None:
    """Accept any arguments."""


def test_row_describes_the_failure() -> None:
    """A row has the task, its tenant, its arguments and the error."""
    made = make(function, LookupError("lost"), kwargs={"tenant_id": TENANT, "n": 1}, args=["a"])
    assert made.identity.task_name == "app.tasks.llm.route"
    assert (made.identity.task_id, made.identity.tenant_id) == ("id-1", TENANT)
    assert json.loads(made.args) == ["a"]
    assert json.loads(made.kwargs) == {"tenant_id": TENANT, "n": 1}
    assert (made.exception_class, made.error_message) == ("LookupError", "lost")
    assert made.queue == "llm"
    assert made.traceback is not None
    assert "LookupError: lost" in made.traceback


def test_row_of_a_malformed_tenant_id_has_none() -> None:
    """A tenant id that is no UUID stays in the arguments, and the row's column is null."""
    made = make(function, TenantError("x"), kwargs={"tenant_id": "nope"})
    assert made.identity.tenant_id is None
    assert json.loads(made.kwargs) == {"tenant_id": "nope"}


def test_row_hides_secrets_everywhere() -> None:
    """A sensitive value is in no part of the row, even where the error repeats it."""
    secret = "hunter2-hunter2"
    made = make(
        function, ValueError(f"bad {secret}"), kwargs={"password": secret, "a": [{"token": secret}]}
    )
    assert secret not in str(made)
    assert made.error_message == "bad [masked]"


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("select 1", {}, psycopg2.OperationalError("gone")),
        ConnectionResetError("gone"),
        TimeoutError("late"),
        SoftTimeLimitExceeded(),
    ],
)
def test_temporary_error_is_transient(error: BaseException) -> None:
    """Lost connections and time limits are transient errors."""
    assert make(function, error).error_kind == "transient"


@pytest.mark.parametrize(
    "error", [ValueError("x"), TypeError("x"), TenantError("x"), KeyError("x")]
)
def test_other_error_is_permanent(error: BaseException) -> None:
    """An error of the task or its arguments is permanent: a retry gives the same error."""
    assert make(function, error).error_kind == "permanent"


def test_error_that_cannot_be_pickled_keeps_its_name() -> None:
    """For an error that Celery wrapped, the row has the class of the original error."""
    wrapped = UnpickleableExceptionWrapper("some.where", "OddError", ("odd",), "OddError('odd')")
    assert make(function, wrapped).exception_class == "some.where.OddError"


def test_error_without_a_text_is_reported() -> None:
    """An error whose text cannot be produced leaves a row with a note about it."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert make(function, MuteError()).error_message == "its text is not available: RuntimeError"


def test_message_without_an_id_gets_a_stable_id() -> None:
    """The id derived from a message is stable, and differs between messages."""
    first, again, other, longer = (
        stable_id(SimpleNamespace(properties={"delivery_tag": tag}, body=body))
        for tag, body in (("a", b"x"), ("a", b"x"), ("b", b"x"), ("a", b"xy"))
    )
    assert first == again
    assert len({first, other, longer}) == 3


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
def test_queue_is_derived(routing_key: str | None, task_name: str, queue: str | None) -> None:
    """The queue comes from the routing key, otherwise from the task's name."""
    info = {"routing_key": routing_key}
    assert row.queue_of(info, task_name=task_name) == queue


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"kwargs": {"correlation_id": "k"}, "system_correlation_id": "h"}, "k"),
        ({"kwargs": {}, "system_correlation_id": "h"}, "h"),
        ({"kwargs": {}}, "id-1"),
    ],
)
def test_correlation_id_is_found(request_fields: dict[str, Any], expected: str) -> None:
    """The correlation id comes from the argument, then the header, then the task's id."""
    assert make(function, ValueError(), **request_fields).identity.correlation_id == expected


def test_failed_insert_is_one_line_without_the_payload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row that cannot be written is one error line without any content of the row."""
    logged: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        keeper, "log", SimpleNamespace(error=lambda event, **more: logged.append((event, more)))
    )

    def refuse(*_: Any) -> Any:
        raise OperationalError("INSERT payload-1", {"x": "payload-2"}, Exception("payload-3"))

    monkeypatch.setattr(database, "transaction", refuse)
    context = Context({"id": "id-1", "args": [], "kwargs": {"x": "payload-2"}})
    task: Any = SimpleNamespace(name="n", run=function, request=context)
    task.backend = None
    signal.record_failure(task, "id-1", ValueError("payload-4"))
    assert [event for event, _ in logged] == [keeper.NOT_WRITTEN]
    assert logged[0][1]["task_id"] == "id-1"
    assert logged[0][1]["error"] == "sqlalchemy.exc.OperationalError"
    assert "payload" not in str(logged)


@pytest.mark.parametrize(
    "task_request",
    [None, Context({"id": "id-1", "task": "app.tasks.llm.route", "args": [{1, 2}], "kwargs": {}})],
    ids=["of-another-task", "changed-by-the-task"],
)
def test_failure_whose_arguments_are_unknown_leaves_a_row(task_request: Any) -> None:
    """Its row is not replayable, and omits the error text, which may contain sensitive values."""
    error = ValueError("token=hidden")
    app = SimpleNamespace(tasks={})
    made = failure.describe_failure(app, "id-1", error, "Traceback: token=hidden", task_request)
    assert made is not None
    assert (made.identity.task_id, made.exception_class) == ("id-1", "ValueError")
    assert (made.args, made.kwargs, made.replayable) == ("[]", "{}", False)
    assert (made.error_message, made.traceback) == (failure.NOT_KEPT, None)


def test_message_whose_row_cannot_be_stored_is_requeued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused message is requeued if neither database nor disk can store its row."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:x@127.0.0.1:1/d")
    taken = tmp_path / "a file"
    taken.touch()
    channel = Channel()
    message = Message(body="no call", headers={"task": "app.tasks.none"}, channel=channel)
    refusing: Any = consumer.Consumer.__new__(consumer.Consumer)
    refusing.app, refusing.connection_errors = SimpleNamespace(tasks={}), ()
    for folder, kept in ((taken, False), (tmp_path / "spool", True)):
        monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(folder))
        assert refusing._keep(message, ValueError("x")) is kept
    assert channel.rejected == [True]


def test_redelivered_message_is_not_run_while_its_row_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database down, a spooled row is the only proof that its task has ended."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:x@127.0.0.1:1/d")
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(tmp_path))
    kept = keeper.keep(make(function, ValueError("x"), id="t-failed"))
    assert isinstance(kept, keeper.Spooled)
    assert isinstance(kept.error, OperationalError)

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT", {}, OSError())

    app = SimpleNamespace(tasks={}, backend=SimpleNamespace(get_task_meta=fail))

    def message(task_id: str, *, redelivered: bool) -> Message:
        headers = {"task": "app.tasks.none", "id": task_id}
        info = {"redelivered": redelivered}
        return Message(body="", channel=Channel(), headers=headers, delivery_info=info)

    assert consumer.has_ended(app, message("t-failed", redelivered=True))
    assert not consumer.has_ended(app, message("t-other", redelivered=True))
    assert not consumer.has_ended(app, message("t-failed", redelivered=False))
    # If the spool cannot be read, the stored result still decides.
    (tmp_path / "a file").touch()
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(tmp_path / "a file"))
    app.backend.get_task_meta = lambda *_, **__: {"status": "SUCCESS"}
    assert consumer.has_ended(app, message("t-other", redelivered=True))
    # Celery stores a failure for a task that never ran, too.
    app.backend.get_task_meta = lambda *_, **__: {"status": "FAILURE", endings.NOT_RUN: True}
    assert not consumer.has_ended(app, message("t-other", redelivered=True))


def test_row_of_a_message_that_was_refused_has_its_workflow() -> None:
    """The row of an unknown task keeps chain and limits, so that a later replay continues it."""
    later = {"task": "app.tasks.llm.route", "args": ["x"], "kwargs": {"token": "hunter2"}}
    body = [[], {"tenant_id": TENANT}, {"chain": [later], "callbacks": None}]
    message: Any = SimpleNamespace(
        headers={"task": "app.tasks.none", "id": "id-1", "timelimit": [9, 8], "x-note": "kept"},
        properties={},
        payload=body,
        body=json.dumps(body),
        delivery_info={"routing_key": "llm.task"},
    )
    made = describe_message(SimpleNamespace(tasks={}), message, ValueError("x"))
    assert json.loads(made.options) == {
        "chain": [{**later, "kwargs": {"token": "[masked]"}}],
        "time_limit": 9,
        "soft_time_limit": 8,
        "headers": {"x-note": "kept"},
    }
    assert made.identity.tenant_id == TENANT


class Channel:
    """A channel that records for each rejection whether the message is requeued."""

    def __init__(self) -> None:
        self.rejected: list[bool] = []

    def basic_reject(self, _: Any, *, requeue: bool) -> None:
        """Record a rejection."""
        self.rejected.append(requeue)


def test_revoked_task_whose_result_cannot_be_stored_raises_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failure to store the result of a revoked task is logged: an error would stop the worker."""
    backend = endings.ReportingBackend.__new__(endings.ReportingBackend)

    def refuse(*_: Any, **__: Any) -> None:
        raise BackendStoreError("database down")

    monkeypatch.setattr(DatabaseBackend, "mark_as_revoked", refuse)
    with structlog.testing.capture_logs() as logged:
        backend.mark_as_revoked("id-1", "terminated")
    assert [(one["event"], one["task_id"]) for one in logged] == [("result not stored", "id-1")]
