"""The one error root of this package; the class of an error decides the cause in the verdict.

Imports nothing of pytest, which is slow to import: the watchdog needs these too.
Leaves the exceptions that are skips of pytest to `gateproof.base.skip`.
"""

from __future__ import annotations


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
