"""Report each task's end to an observer, which can write in the transaction of the result.

Owns the moment; the observer decides what to write. Every failure that Celery stores passes through
`mark_as_failure`, in the pool's child or in the worker's parent, with its result ignored or not. An
expired task passes through `mark_as_revoked`, a success through `mark_as_done`. A result for which
the observer has nothing to write is stored by the backend alone.

Celery also stores a failure for tasks that never run: the later ones of a chain, and the body of a
chord. Their results are marked with `NOT_RUN`. Of these, only a body is reported to the observer:
the end of the failed task has the rest of its chain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, ClassVar, Protocol

import structlog
from celery import states
from celery.app.task import Context
from celery.backends.database import DatabaseBackend
from celery.exceptions import BackendStoreError, TaskRevokedError
from sqlalchemy import Connection, Executable, or_
from sqlalchemy.dialects.postgresql import insert

from system import settings
from system.connections import database
from system.connections.text import storable

NOT_RUN = "system_not_run"
"""The key that marks the stored failure of a task that never ran."""
BODY_OF_A_CHORD = "the task never ran: a task of its chord failed"
EXPIRED = "expired"
"""The reason with which Celery revokes an expired task; one revoked by a person has another."""


log = structlog.get_logger("system.transport")


class Ending(Protocol):
    """An observer's part in the end of one task."""

    task_id: str

    def write(self, connection: Connection) -> None:
        """Write in an open transaction; raise only errors that break the connection."""
        ...

    def finish(self, *, written: bool) -> object:
        """Keep what no committed transaction holds, and return where it is; never raise."""
        ...


class Observer(Protocol):
    """Decides what to write about the end of a task; None for nothing."""

    def of_failure(
        self, app: Any, task_id: str, error: BaseException, traceback: str | None, request: Any
    ) -> Ending | None:
        """Return what to write about a failure."""
        ...

    def of_success(self, task_id: str, request: Any) -> Ending | None:
        """Return what to write about a success."""
        ...


class Observed:
    """An ending that is not finished, and whether a committed transaction holds it."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        self.written = False
        self.kept: object = None
        """Where it is, once it is finished."""


_OBSERVED: ContextVar[Observed | None] = ContextVar("ending", default=None)
_NEVER_RUN: ContextVar[Callable[[str], Any] | None] = ContextVar("never_run", default=None)
"""While failures of tasks that never ran are stored: returns the request of one, or None."""


class ReportingBackend(DatabaseBackend):
    """A database backend that reports every end to an observer, and stores what it writes."""

    observer: ClassVar[Observer | None] = None

    # The base's, which its stubs leave out.
    app: Any
    url: str
    _ensure_retryable: Any
    _update_result: Any

    def mark_as_failure(
        self,
        task_id: str,
        exc: Exception,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Mark a task as failed, and write the observer's part with its result."""
        self.report_failure(task_id, exc, traceback, request, store_result, call_errbacks, state)

    def report_failure(
        self, task_id: str, exc: Exception, traceback: str | None, request: Any, *options: Any
    ) -> object:
        """Mark a task as failed, and return where the observer keeps its part.

        A result that cannot be stored is logged and raises nothing: the observer keeps its part
        elsewhere, and Celery, which would take the error for the task's own, sends its signals.

        Returns:
            What `Ending.finish` returned; None if the observer has nothing to write.

        """
        ending, request_of = None, _NEVER_RUN.get()
        known = request_of(task_id) if request_of else request
        if self.observer and (known is not None or request_of is None):
            ending = self.observer.of_failure(self.app, task_id, exc, traceback, known)
        with _observed(ending) as observed:
            try:
                super().mark_as_failure(task_id, exc, traceback, request, *options)
            except BackendStoreError:
                if ending is None:
                    raise
                log.error("result not stored", task_id=task_id)  # noqa: TRY400 (Celery logs it)
        return observed.kept if observed else None

    def _fail_chain(self, *args: Any, **kwargs: Any) -> None:
        """Store the failure of the tasks after a failed one, which never run."""
        with _never_run(lambda _: None):
            base: Any = super()  # (its stubs leave the method out)
            base._fail_chain(*args, **kwargs)  # noqa: SLF001 (the base's own)

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> Any:
        """Store the failure of a chord's body, which never runs."""
        with _never_run(partial(_request_of_body, callback)):
            return super().chord_error_from_stack(callback, exc)

    def encode_result(self, result: Any, state: str) -> Any:
        """Return the form of a result that is stored; mark the failure of a task that never ran."""
        encoded = super().encode_result(result, state)
        never_ran = _NEVER_RUN.get() is not None and state in states.EXCEPTION_STATES
        return {**encoded, NOT_RUN: True} if never_ran and isinstance(encoded, dict) else encoded

    def meta_from_decoded(self, meta: dict[str, Any]) -> dict[str, Any]:
        """Return the record of a result, with the mark of a task that never ran."""
        result: Any = meta.get("result")
        is_error = meta["status"] in states.EXCEPTION_STATES and isinstance(result, dict)
        mark = {NOT_RUN: True} if is_error and result.get(NOT_RUN) else {}
        return {**super().meta_from_decoded(meta), **mark}

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Mark a task as revoked; report an expired one as a failure.

        A result that cannot be stored is logged and raises nothing: the error would end a worker
        that finds an expired task while it takes the next one.
        """
        ending = None
        if self.observer and reason == EXPIRED:
            error = TaskRevokedError(reason)
            ending = self.observer.of_failure(self.app, task_id, error, None, request)
        with _observed(ending):
            try:
                super().mark_as_revoked(task_id, reason, request, store_result, state)
            except BackendStoreError:
                log.error("result not stored", task_id=task_id)  # noqa: TRY400 (Celery logs it)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Mark a task as successful, and write the observer's part with its result."""
        ending = self.observer.of_success(task_id, request) if self.observer else None
        with _observed(ending, only_after_success=True):
            super().mark_as_done(task_id, result, request, store_result, state)

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **more: Any,
    ) -> Any:
        """Store a result in one transaction with the observer's part."""
        observed = _OBSERVED.get()
        # A failure also stores the results of the tasks that are chained after it.
        if observed is None or observed.ending.task_id != task_id or not self._shares_database():
            return super().store_result(task_id, result, state, traceback, request, **more)
        encoded = self.encode_result(result, state)
        self._ensure_retryable(
            self._store_together,
            observed,
            encoded,
            state,
            traceback,
            request,
            fallback_exc=BackendStoreError,
            fallback_msg="failed to store result on the backend",
        )
        return encoded

    def _store_together(
        self, observed: Observed, result: Any, state: str, traceback: str | None, request: Any
    ) -> None:
        statement = self._upsert(observed.ending.task_id, result, state, traceback, request)
        with database.transaction() as connection:
            # A stored success stays: no row is updated, and nothing is written with it.
            if connection.execute(statement).rowcount:
                observed.ending.write(connection)
        observed.written = True

    def _upsert(
        self, task_id: str, result: Any, state: str, traceback: str | None, request: Any
    ) -> Executable:
        row: Any = self.task_cls(task_id)
        self._update_result(row, result, state, traceback=traceback, request=request)
        table = self.task_cls.__table__
        # A plain result lacks the columns of an extended one. None must not overwrite the stamps
        # that an earlier state stored.
        values = {
            column.name: _storable(getattr(row, column.name))
            for column in table.columns
            if column.name != "id" and hasattr(row, column.name)
        }
        if not values.get("stamps"):
            values.pop("stamps", None)
        status = table.c.status
        return (
            insert(table)
            .values(values)
            .on_conflict_do_update(
                index_elements=[table.c.task_id],
                set_={name: value for name, value in values.items() if name != "task_id"},
                where=or_(status.is_(None), status.not_in(_final(state))),
            )
        )

    def _shares_database(self) -> bool:
        return bool(self.url == settings.connections_from(os.environ).database_url)


@contextmanager
def _never_run(request_of: Callable[[str], Any]) -> Iterator[None]:
    token = _NEVER_RUN.set(request_of)
    try:
        yield
    finally:
        _NEVER_RUN.reset(token)


def _request_of_body(body: Any, task_id: str) -> Context | None:
    """Return the request that the body of a chord, or one of its tasks, would have had."""
    for call in getattr(body, "tasks", None) or [body]:
        if call.options.get("task_id") == task_id:
            request = {name: call.get(name) for name in ("task", "args", "kwargs")}
            headers = call.options.get("headers") or {}
            return Context(request, id=task_id, headers=headers, not_run=BODY_OF_A_CHORD)
    return None


def _storable(value: Any) -> Any:
    """Return a value that PostgreSQL takes: it refuses the text of some errors.

    Celery would report the refusal instead of the task's error, and a retry as a failure.
    """
    return storable(value) if isinstance(value, str) else value


def _final(state: str) -> list[str]:
    """Return the stored states that a state does not replace.

    A success stays. Every end stays before a state that is none: an attempt publishes the next one
    before it stores RETRY, and in another process the next one may have failed by then.
    """
    return sorted(states.READY_STATES) if state in states.UNREADY_STATES else [states.SUCCESS]


@contextmanager
def _observed(
    ending: Ending | None, *, only_after_success: bool = False
) -> Iterator[Observed | None]:
    if ending is None:
        yield None
        return
    observed = Observed(ending)
    token = _OBSERVED.set(observed)
    failed = True
    try:
        yield observed
        failed = False
    finally:
        _OBSERVED.reset(token)
        # A success whose result cannot be stored is none: Celery reports its failure next.
        if not (failed and only_after_success):
            observed.kept = ending.finish(written=observed.written)
