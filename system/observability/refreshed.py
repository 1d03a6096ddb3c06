"""Query a value for scrapes without letting a slow database slow them.

A thread queries it, at most once in `FRESH_S` and never twice at a time. A scrape waits for it at
most `PATIENCE_S`. The last answer is used until it is `STALE_S` old; after that, as before the
first answer, there is none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from system.dead_letters.row import class_name

FRESH_S = 5.0
STALE_S = 60.0
PATIENCE_S = 0.2

T = TypeVar("T")

log = structlog.get_logger("system.metrics")


@dataclass(frozen=True, kw_only=True)
class _Answer(Generic[T]):
    value: T
    at: float
    """Monotonic time."""


class Refreshed(Generic[T]):
    """A value that is queried in the background when it is asked for."""

    def __init__(self, name: str, source: Callable[[], T]) -> None:
        self._name = name
        self._source = source
        self._lock = threading.Lock()
        self._answer: _Answer[T] | None = None
        self._running: threading.Event | None = None

    def value(self) -> T | None:
        """Return the last answer; None if there is none, or it is too old."""
        self._refresh()
        answer = self._answer
        if answer is None or time.monotonic() - answer.at > STALE_S:
            return None
        return answer.value

    def _refresh(self) -> None:
        with self._lock:
            if self._answer and time.monotonic() - self._answer.at < FRESH_S:
                return
            if self._running is None:
                self._running = threading.Event()
                threading.Thread(
                    target=self._query, args=(self._running,), name=self._name, daemon=True
                ).start()
            running = self._running
        running.wait(PATIENCE_S)

    def _query(self, running: threading.Event) -> None:
        try:
            self._answer = _Answer(value=self._source(), at=time.monotonic())
        except Exception as error:  # noqa: BLE001 (a database can fail to answer in any way)
            log.warning("gauge not refreshed", gauge=self._name, error=class_name(error))
        finally:
            with self._lock:
                self._running = None
            running.set()
