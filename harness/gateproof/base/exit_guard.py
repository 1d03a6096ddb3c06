"""Keeps `os._exit` from ending a run with the exit status of a verdict.

`os._exit` ends the process without pytest: with 1 it looks like a failed check, with 0 like a
release, and neither has a bundle. pytest-timeout before version 2 and some checks call it. Not
covered: C code that ends the process itself, and signals, whose exit status says so.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


class ExitGuard:
    """Replaces `os._exit` in this process; forked children keep the original.

    Args:
        status: the exit status to end with instead.
        explain: called with the reason before the process ends.

    """

    def __init__(self, *, status: int, explain: Callable[[str], None]) -> None:
        self._status = status
        self._explain = explain
        self._pid = os.getpid()
        self._original = os._exit
        self._stderr = os.dup(2)  # pytest redirects the original while a check runs
        self._replace(self._leave)

    def dispose(self) -> None:
        """Restore `os._exit`."""
        self._replace(self._original)
        os.close(self._stderr)

    def _leave(self, status: int) -> NoReturn:
        if os.getpid() == self._pid:
            reason = f"os._exit({status}) ended the process, called in {_caller()}"
            with suppress(Exception):  # nothing may keep the process from ending
                self._explain(reason)
            with suppress(OSError):
                os.write(self._stderr, f"\ngateproof: no bundle: {reason}\n".encode())
            status = self._status
        self._original(status)

    @staticmethod
    def _replace(function: Callable[[int], NoReturn]) -> None:
        vars(os)["_exit"] = function


def _caller() -> str:
    """Return the file and line that called `os._exit`."""
    frame = inspect.currentframe()
    for _ in range(2):  # this function and the guard's
        frame = frame.f_back if frame is not None else None
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "unknown code"
