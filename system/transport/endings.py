"""How others write about a task's end in the very transaction that stores its result.

Owns the moment only: what is written is the observer's. Every failure that Celery stores passes
through `mark_as_failure`, in the pool's child or in the worker's parent, with its result ignored
or not; an expired task passes through `mark_as_revoked`, a success through `mark_as_done`. How a
result is stored that nothing is written beside is the backend's own business.
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
from sqlalchemy import Connection, Executable
from sqlalchemy.dialects.postgresql import insert

from system import settings
from system.connections import database

EXPIRED = "expired"
"""Why Celery revokes a task whose time was over; what a person revoked has another reason."""


log = structlog.get_logger("system.transport")


class Ending(Protocol):
    """What is written about one task's end."""

    task_id: str

    def write(self, connection: Connection) -> None:
        """Write it in a transaction that is open; raise only what breaks the connection."""
        ...

    def finish(self, *, written: bool) -> None:
        """End it: whatever no committed transaction holds is written or kept now; never raises."""
        ...


class Observer(Protocol):
    """Who has something to write about ends; None where it has nothing."""

    def of_failure(
        self, app: Any, task_id: str, error: BaseException, traceback: str | None, request: Any
    ) -> Ending | None:
        """Return what a failure leaves."""
        ...

    def of_success(self, task_id: str, request: Any) -> Ending | None:
        """Return what a success leaves."""
        ...


class UnderWay:
    """An ending under way, and whether a committed transaction holds it."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        self.written = False


_UNDER_WAY: ContextVar[UnderWay | None] = ContextVar("ending", default=None)


class TellingBackend(DatabaseBackend):
    """A database backend that tells an observer of every end, and takes along what it writes."""

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
        """Mark a task as failed, and have the observer's part written with it.

        Where the result cannot be stored that is logged and not raised: the observer keeps its part
        elsewhere then, and Celery, which would take the error for the task's own, goes on to tell
        its signals of the failure.
        """
        ending = None
        if self.observer:
            ending = self.observer.of_failure(self.app, task_id, exc, traceback, request)
        with _beside(ending):
            try:
                super().mark_as_failure(
                    task_id, exc, traceback, request, store_result, call_errbacks, state
                )
            except BackendStoreError:
                if ending is None:
                    raise
                log.error("result not stored", task_id=task_id)  # noqa: TRY400 (Celery gave it)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Mark a task as revoked; one that expired is told of as a failure.

        Where the result cannot be stored that is logged and not raised: a worker that finds a task
        expired while it takes the next one would end.
        """
        ending = None
        if self.observer and reason == EXPIRED:
            error = TaskRevokedError(reason)
            ending = self.observer.of_failure(self.app, task_id, error, None, request)
        with _beside(ending):
            try:
                super().mark_as_revoked(task_id, reason, request, store_result, state)
            except BackendStoreError:
                log.error("result not stored", task_id=task_id)  # noqa: TRY400 (Celery gave it)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Mark a task as successful, and have the observer's part written with it."""
        ending = self.observer.of_success(task_id, request) if self.observer else None
        with _beside(ending, only_after_success=True):
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
        """Store a result, in one transaction with what is written beside it."""
        under_way = _UNDER_WAY.get()
        # A failure also stores the results of the tasks chained behind it.
        if under_way is None or under_way.ending.task_id != task_id or not self._shares_database():
            return super().store_result(task_id, result, state, traceback, request, **more)
        encoded = self.encode_result(result, state)
        self._ensure_retryable(
            self._store_together,
            under_way,
            encoded,
            state,
            traceback,
            request,
            fallback_exc=BackendStoreError,
            fallback_msg="failed to store result on the backend",
        )
        return encoded

    def _store_together(
        self, under_way: UnderWay, result: Any, state: str, traceback: str | None, request: Any
    ) -> None:
        statement = self._upsert(under_way.ending.task_id, result, state, traceback, request)
        with database.transaction() as connection:
            # No row is touched where a success stands, and then nothing is written beside it.
            if connection.execute(statement).rowcount:
                under_way.ending.write(connection)
        under_way.written = True

    def _upsert(
        self, task_id: str, result: Any, state: str, traceback: str | None, request: Any
    ) -> Executable:
        row: Any = self.task_cls(task_id)
        self._update_result(row, result, state, traceback=traceback, request=request)
        table = self.task_cls.__table__
        # Columns of extended results are no attribute of a plain one. None must not undo the
        # stamps that an earlier state stored.
        values = {
            column.name: getattr(row, column.name)
            for column in table.columns
            if column.name != "id" and hasattr(row, column.name)
        }
        if not values.get("stamps"):
            values.pop("stamps", None)
        return (
            insert(table)
            .values(values)
            .on_conflict_do_update(
                index_elements=[table.c.task_id],
                set_={name: value for name, value in values.items() if name != "task_id"},
                where=table.c.status.is_distinct_from(states.SUCCESS),
            )
        )

    def _shares_database(self) -> bool:
        return bool(self.url == settings.connections_from(os.environ).database_url)


@contextmanager
def _beside(ending: Ending | None, *, only_after_success: bool = False) -> Iterator[None]:
    if ending is None:
        yield
        return
    under_way = UnderWay(ending)
    token = _UNDER_WAY.set(under_way)
    failed = True
    try:
        yield
        failed = False
    finally:
        _UNDER_WAY.reset(token)
        # A success whose result could not be stored is no success: its failure is told of next.
        if not (failed and only_after_success):
            ending.finish(written=under_way.written)
