"""The one error root of this package."""

from __future__ import annotations


class EvidenceError(Exception):
    """Evidence could not be read, written or trusted."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class BadInputError(EvidenceError):
    """A file or an option breaks its rule; the message names it, the rule and what to do."""


class NotWritableError(EvidenceError):
    """Evidence could not be written; the run cannot be trusted without it."""
