"""Dead letters: the row of a failure, and where it is kept."""

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
from system.dead_letters.capture.message import stable_id
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
    """Take anything."""


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
    """A tenant id that is no UUID is only in the arguments, and not in the row's column."""
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
def test_passing_trouble_is_transient(error: BaseException) -> None:
    """Lost connections and time limits are worth another try."""
    assert make(function, error).error_kind == "transient"


@pytest.mark.parametrize(
    "error", [ValueError("x"), TypeError("x"), TenantError("x"), KeyError("x")]
)
def test_other_trouble_is_permanent(error: BaseException) -> None:
    """An error of the task or its arguments comes again however often it is tried."""
    assert make(function, error).error_kind == "permanent"


def test_error_that_cannot_be_pickled_keeps_its_name() -> None:
    """The class of an error that Celery had to wrap is that of the one inside."""
    wrapped = UnpickleableExceptionWrapper("some.where", "OddError", ("odd",), "OddError('odd')")
    assert make(function, wrapped).exception_class == "some.where.OddError"


def test_error_without_a_text_is_reported() -> None:
    """An error whose text is not available leaves a row that says so."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert make(function, MuteError()).error_message == "its text is not available: RuntimeError"


def test_message_without_an_id_has_a_stable_one() -> None:
    """The id made of a message is the same for it again, and another for its neighbour."""
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
def test_queue_is_found(routing_key: str | None, task_name: str, queue: str | None) -> None:
    """The queue is that of the routing key, else that of the task's name."""
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
    """The correlation id is the argument's, else the header's, else the task's id."""
    assert make(function, ValueError(), **request_fields).identity.correlation_id == expected


def test_failed_insert_is_one_line_without_the_payload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row that cannot be written is one error line, which repeats nothing of the row."""
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        keeper, "log", SimpleNamespace(error=lambda event, **more: said.append((event, more)))
    )

    def refuse(*_: Any) -> Any:
        raise OperationalError("INSERT payload-1", {"x": "payload-2"}, Exception("payload-3"))

    monkeypatch.setattr(database, "transaction", refuse)
    context = Context({"id": "id-1", "args": [], "kwargs": {"x": "payload-2"}})
    task: Any = SimpleNamespace(name="n", run=function, request=context)
    task.backend = None
    signal.record_failure(task, "id-1", ValueError("payload-4"))
    assert [event for event, _ in said] == ["dead-letter row not written"]
    assert said[0][1]["task_id"] == "id-1"
    assert said[0][1]["error"] == "sqlalchemy.exc.OperationalError"
    assert "payload" not in str(said)


@pytest.mark.parametrize(
    "request_of_it",
    [None, Context({"id": "id-1", "task": "app.tasks.llm.route", "args": [{1, 2}], "kwargs": {}})],
    ids=["of-another-task", "changed-by-the-task"],
)
def test_failure_whose_arguments_are_unknown_leaves_a_row(request_of_it: Any) -> None:
    """It cannot be replayed, and has no text whose sensitive parts are unknown."""
    error = ValueError("token=hidden")
    app = SimpleNamespace(tasks={})
    made = failure.describe_failure(app, "id-1", error, "Traceback: token=hidden", request_of_it)
    assert made is not None
    assert (made.identity.task_id, made.exception_class) == ("id-1", "ValueError")
    assert (made.args, made.kwargs, made.replayable) == ("[]", "{}", False)
    assert (made.error_message, made.traceback) == (failure.NOT_KEPT, None)


def test_message_whose_row_is_lost_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With neither database nor disk a refused message is not taken off its queue."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:x@127.0.0.1:1/nowhere")
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


def test_redelivered_message_is_done_while_its_row_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database away the disk shows that a task has ended, and nothing does for another."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:x@127.0.0.1:1/nowhere")
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(tmp_path))
    kept = keeper.keep(make(function, ValueError("x"), id="t-failed"))
    assert isinstance(kept, keeper.Spooled)
    assert isinstance(kept.error, OperationalError)

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT", {}, OSError())

    app = SimpleNamespace(tasks={}, backend=SimpleNamespace(get_task_meta=away))

    def message(task_id: str, *, again: bool) -> Message:
        headers = {"task": "app.tasks.none", "id": task_id}
        info = {"redelivered": again}
        return Message(body="", channel=Channel(), headers=headers, delivery_info=info)

    assert consumer.has_ended(app, message("t-failed", again=True))
    assert not consumer.has_ended(app, message("t-other", again=True))
    assert not consumer.has_ended(app, message("t-failed", again=False))
    # A spool that cannot be read keeps nobody from asking for the result.
    (tmp_path / "a file").touch()
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(tmp_path / "a file"))
    app.backend.get_task_meta = lambda *_, **__: {"status": "SUCCESS"}
    assert consumer.has_ended(app, message("t-other", again=True))


class Channel:
    """Notes what is rejected, and whether it goes back to its queue."""

    def __init__(self) -> None:
        self.rejected: list[bool] = []

    def basic_reject(self, _: Any, *, requeue: bool) -> None:
        """Note it."""
        self.rejected.append(requeue)


def test_revoked_task_whose_result_cannot_be_stored_raises_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker finds a task expired while it takes it: what is raised there ends the worker."""
    backend = endings.ReportingBackend.__new__(endings.ReportingBackend)

    def refuse(*_: Any, **__: Any) -> None:
        raise BackendStoreError("away")

    monkeypatch.setattr(DatabaseBackend, "mark_as_revoked", refuse)
    with structlog.testing.capture_logs() as said:
        backend.mark_as_revoked("id-1", "terminated")
    assert [(one["event"], one["task_id"]) for one in said] == [("result not stored", "id-1")]
