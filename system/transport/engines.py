"""Make the SQLAlchemy engines of broker and results: one of each in a process, at first use.

A forked child drops the engines that it inherits. Each statement commits by itself.
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
        url: a SQLAlchemy URL, as `settings.sqlalchemy_url` returns it.
        application_name: the name in `pg_stat_activity`.

    """
    key = url, application_name
    with _LOCK:
        if key not in _ENGINES:
            _ENGINES[key] = create_engine(
                url,
                pool_size=1,
                max_overflow=4,
                # No test before use: it would double the statements of an idle worker.
                pool_pre_ping=False,
                hide_parameters=True,
                isolation_level="AUTOCOMMIT",
                connect_args=connect_args(application_name),
            )
        return _ENGINES[key]


def close_engine(url: str, application_name: str) -> None:
    """Close the connections of one engine; the next use makes a new engine."""
    with _LOCK:
        engine = _ENGINES.pop((url, application_name), None)
    if engine is not None:
        engine.dispose()


def close_engines() -> None:
    """Close all connections of this process; the next use makes new engines."""
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
