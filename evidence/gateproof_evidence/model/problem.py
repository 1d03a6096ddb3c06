"""The first problem of a pydantic validation error, for a message of one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One field that violates the rule of its model."""

    field: str
    """The path of the field, with dots: ``criteria.0.id``."""
    kind: str
    """Pydantic's name for the rule: ``missing``, ``extra_forbidden``, ..."""
    message: str
    value: object
    """The value of the field."""

    def __str__(self) -> str:
        """Return field and message."""
        return f"{self.field}: {self.message}"


def first_problem(error: ValidationError, *, before: Sequence[str] = ()) -> Problem:
    """Return the first problem of an error.

    Args:
        error: the error.
        before: kinds to report before all others, the most important first.

    """
    ranks = {kind: rank for rank, kind in enumerate(before)}
    found = error.errors(include_url=False)
    first = min(found, key=lambda one: ranks.get(one["type"], len(ranks)))
    return Problem(
        field=".".join(str(part) for part in first["loc"]),
        kind=first["type"],
        message=first["msg"],
        value=first["input"],
    )
