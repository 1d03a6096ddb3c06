"""The one error root of this package; each kind tells a verdict who is to blame."""

from __future__ import annotations

import pytest


class HarnessError(Exception):
    """The harness could not do what a check asked of it."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class EnvironmentProblemError(HarnessError):
    """Something that the run needs and does not own is missing: a port, a disk, an engine."""


class NotReadyError(HarnessError):
    """A process did not become ready, or a command did not end, before the deadline."""


class InconclusiveError(HarnessError):
    """The check saw too little to judge."""


class LimitError(HarnessError):
    """The check's overall limit passed."""


# pytest publishes the class as an attribute of a function, which mypy takes for no class.
class NotApplicableError(pytest.skip.Exception):  # type: ignore[name-defined,misc]
    """The environment lacks an ability that the check needs."""
