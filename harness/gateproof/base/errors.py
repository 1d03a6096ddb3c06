"""The one error root of this package; the class of an error decides the cause in the verdict."""

from __future__ import annotations

import pytest


class HarnessError(Exception):
    """The harness could not do what a check asked of it."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class EnvironmentProblemError(HarnessError):
    """Something that the run needs from its environment is missing: a port, a disk, an engine."""


class MissingAbilityError(HarnessError):
    """The machine lacks a program that the check needs, so the claim was not checked here."""


class NotReadyError(HarnessError):
    """A process did not become ready, or a command did not finish, before the deadline."""


class InconclusiveError(HarnessError):
    """The check observed too little to judge."""


class PremiseError(InconclusiveError):
    """A condition does not hold without which the claim cannot be judged."""


class LimitError(HarnessError):
    """The check exceeded its overall time limit."""


# pytest publishes this class as an attribute of a function, which mypy does not accept as a class.
class NotApplicableError(pytest.skip.Exception):  # type: ignore[name-defined,misc]
    """The system or the environment lacks what the check needs, and is known to lack it."""


class NotDescribedError(pytest.skip.Exception):  # type: ignore[name-defined,misc]
    """The description of the system does not have a key that the check needs."""
