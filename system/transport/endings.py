"""Report each task's end to an observer, which can write in the transaction of the result.

Owns the moment; the observer decides what to write. Every failure that Celery stores passes through
`mark_as_failure`, in the pool's child or in the worker's parent, with its result ignored or not. An
expired task passes through `mark_as_revoked`, a success through `mark_as_done`. A result for which
the observer has nothing to write is stored by the backend alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Protocol

import structlog
from celery import states
from celery.backends.database import DatabaseBackend
from celery.exceptions import BackendStoreError, TaskRevokedError
from sqlalchemy import Connection, Executable, or_
from sqlalchemy.dialects.postgresql import insert

from system import settings
from system.connections import database
from system.connections.text import storable

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
        ending = None
        if self.observer:
            ending = self.observer.of_failure(self.app, task_id, exc, traceback, request)
        with _observed(ending) as observed:
            try:
                super().mark_as_failure(task_id, exc, traceback, request, *options)
            except BackendStoreError:
                if ending is None:
                    raise
                log.error("result not stored", task_id=task_id)  # noqa: TRY400 (Celery logs it)
        return observed.kept if observed else None

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
