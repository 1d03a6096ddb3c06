"""Store results with Celery's database backend, on tables that a migration made.

Owns how results are stored and waited for; their format is stock Celery's. A result is stored by
one statement on a connection that the process keeps (stock Celery reads before it writes, and
outside of prefork opens a new connection each time). A caller that waits polls quickly at first and
slows down to the interval of `get()`: the result of a quick task arrives within milliseconds.
"""

from __future__ import annotations

import time
from typing import Any

from celery import states
from celery.backends.database.session import SessionManager
from celery.exceptions import TimeoutError as CeleryTimeoutError
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from system.transport.endings import ReportingBackend
from system.transport.engines import close_engine, engine_for

APPLICATION_NAME = "system-results"
FIRST_PAUSE_S = 0.002
GROWTH = 1.15


class Sessions(SessionManager):
    """Makes sessions on one small pool in each process."""

    def create_session(
        self,
        dburi: str,
        short_lived_sessions: bool = False,  # noqa: ARG002 (the base's parameter)
        **_: object,
    ) -> tuple[Engine, Any]:
        """Return this process's engine and a session factory for it."""
        engine = engine_for(dburi, APPLICATION_NAME)
        return engine, sessionmaker(bind=engine)

    def prepare_models(self, engine: Engine) -> None:
        """Create and alter no table: the migration did."""

    def invalidate(self, dburi: str) -> None:
        """Close this process's connections to a database after an error."""
        close_engine(dburi, APPLICATION_NAME)


class Backend(ReportingBackend):
    """The result backend behind `db+postgresql://`."""

    _ensure_not_eager: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.session_manager = Sessions()

    def _create_tables(self) -> None:
        """Create no table; stock Celery calls this when it constructs a backend."""

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **_: Any,
    ) -> None:
        """Store a state and its value; a stored success stays."""
        statement = self._upsert(task_id, result, state, traceback, request)
        with engine_for(self.url, APPLICATION_NAME).connect() as connection:
            connection.execute(statement)

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,  # noqa: ARG002 (the base's parameter)
        on_interval: Any = None,
    ) -> Any:
        """Wait until a task has ended; return the record of its result.

        Args:
            task_id: the task's id.
            timeout: in seconds; without one there is no limit.
            interval: the longest pause between two polls, in seconds.
            no_ack: not used.
            on_interval: called before each pause.

        Raises:
            celery.exceptions.TimeoutError: the timeout has passed.

        """
        self._ensure_not_eager()
        end = None if timeout is None else time.monotonic() + timeout
        pause_s = min(FIRST_PAUSE_S, interval)
        while True:
            meta = self.get_task_meta(task_id)
            if meta["status"] in states.READY_STATES:
                return meta
            if on_interval:
                on_interval()
            left_s = pause_s if end is None else end - time.monotonic()
            if left_s <= 0:
                raise CeleryTimeoutError("The operation timed out.")
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * GROWTH, interval)
