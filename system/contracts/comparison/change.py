"""Define a change between two versions of a document, and its two directions.

What a client sends may be restricted less than before, never more; what a client receives may be
restricted more, never less. So the same change of a schema breaks in one direction only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Direction(Enum):
    """The side that writes the values of a schema."""

    REQUEST = "request"
    """The client: a value that was accepted must stay accepted."""
    RESPONSE = "response"
    """The service: a client must meet no value that it could not meet before."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference between two versions."""

    name: str
    """A slug, such as ``required-added``."""
    where: str
    """The operation, and the part of it."""
    got: str
    expected: str
    """The state in the older version."""
    is_breaking: bool = True
