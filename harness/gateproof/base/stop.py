"""Remembers why pytest ended early: a person, a stop of its own, or an internal error.

pytest has one exit status, 2, for the first two. Only a person's interruption overrides the
verdicts.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

import pytest


@dataclass(eq=False)  # pytest keeps plugins in sets, so compare by identity
class Stop:
    """How the session of one process ended; a plugin of pytest."""

    interrupted: bool = False
    """Whether a person interrupted it, by Ctrl-C or SIGTERM."""
    reason: str = ""
    """Why pytest, a plugin or a check stopped it; empty if none did."""
    error: str = ""
    """The internal error that ended it, with its place; empty if there was none."""

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Tell an interruption by a person from the stops that pytest reports the same way.

        `--sw` and xdist raise subclasses of KeyboardInterrupt, `pytest.exit` a class of its own.
        """
        if type(excinfo.value) is KeyboardInterrupt:
            self.interrupted = True
        else:
            self.reason = str(excinfo.value) or type(excinfo.value).__name__

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Keep the first internal error: what follows is often only its consequence."""
        self.error = self.error or _describe(excinfo.value)


def _describe(error: BaseException) -> str:
    """Return an error in one line, with the place that raised it."""
    lines = str(error).strip().splitlines()
    # The error of an xdist worker arrives as the text of its traceback, which ends with the error.
    text = lines[-1] if len(lines) > 1 and "INTERNALERROR" in str(error) else "".join(lines[:1])
    places = traceback.extract_tb(error.__traceback__)
    place = f" ({places[-1].filename}:{places[-1].lineno})" if places else ""
    return f"{type(error).__name__}: {text}{place}"


STOP: pytest.StashKey[Stop] = pytest.StashKey()
