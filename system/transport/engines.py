"""SQLAlchemy engines of broker and results: one of each kind in a process, made on first use.

A socket that two processes share breaks both, so a forked child drops what it inherits. Statements
commit by themselves; whoever needs a transaction opens one.
"""

from __future__ import annotations

import threading

from sqlalchemy import Engine, create_engine

from system.connections.database import connect_args
from system.connections.fork import run_in_children

_ENGINES: dict[tuple[str, str], Engine] = {}
_LOCK = threading.Lock()


def engine_for(url: str, application_name: str) -> Engine:
    """Return this process's engine.

    Args:
        url: SQLAlchemy's, as `settings.sqlalchemy_url` returns it.
        application_name: what `pg_stat_activity` shows.

    """
    key = url, application_name
    with _LOCK:
        if key not in _ENGINES:
            _ENGINES[key] = create_engine(
                url,
                pool_size=1,
                max_overflow=4,
                # Not tested before use, which would double the statements of an idle worker.
                pool_pre_ping=False,
                hide_parameters=True,
                isolation_level="AUTOCOMMIT",
                connect_args=connect_args(application_name),
            )
        return _ENGINES[key]


def close_engine(url: str, application_name: str) -> None:
    """Close the connections of one engine; asked for later, it is a new one."""
    with _LOCK:
        engine = _ENGINES.pop((url, application_name), None)
    if engine is not None:
        engine.dispose()


def close_engines() -> None:
    """Close all connections of this process; engines that are asked for later are new ones."""
    with _LOCK:
        for engine in _ENGINES.values():
            engine.dispose()
        _ENGINES.clear()


def _drop_inherited() -> None:
    """Drop the parent's engines in a forked child, with the lock: neither belongs to it."""
    global _LOCK
    _LOCK = threading.Lock()
    for engine in _ENGINES.values():
        engine.dispose(close=False)
    _ENGINES.clear()


run_in_children(_drop_inherited)
