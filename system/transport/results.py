"""The result backend: celery's database backend on tables that a migration made.

Owns the engine of each process; storing and reading results is stock celery's. That one opens and
closes a connection for every result in a process that was not forked (the solo pool, every
publisher), and tries DDL at its first use; neither happens here.
"""

from __future__ import annotations

import os
from typing import Any

from celery.backends.database.session import SessionManager
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import sessionmaker

from system.database import connect_args
from system.transport.endings import TellingBackend

APPLICATION_NAME = "system-results"


class Sessions(SessionManager):
    """Sessions on one small pool a process; what a fork inherits stays unused."""

    def __init__(self) -> None:
        super().__init__()
        self._pools: dict[tuple[int, str], Engine] = {}

    def create_session(
        self,
        dburi: str,
        short_lived_sessions: bool = False,  # noqa: ARG002 (the base's parameter)
        **_: object,
    ) -> tuple[Engine, Any]:
        """Return this process's engine and a factory of sessions on it."""
        engine = self._pools.get((os.getpid(), dburi))
        if engine is None:
            engine = self._pools[os.getpid(), dburi] = _engine(dburi)
        return engine, sessionmaker(bind=engine)

    def prepare_models(self, engine: Engine) -> None:
        """Make no table and alter none: the migration did."""

    def invalidate(self, dburi: str) -> None:
        """Drop this process's connections to a database that gave an error."""
        engine = self._pools.pop((os.getpid(), dburi), None)
        if engine is not None:
            engine.dispose()


class Backend(TellingBackend):
    """The result backend behind `db+postgresql://`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.session_manager = Sessions()

    def _create_tables(self) -> None:
        """Make no table; stock celery asks for it while it constructs a backend."""


def _engine(url: str) -> Engine:
    return create_engine(
        url,
        pool_size=1,
        max_overflow=4,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=connect_args(APPLICATION_NAME),
    )
