"""What every fault offers to the proof that uses it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Protocol

from evidence.errors import BadInputError

if TYPE_CHECKING:
    from harness.stack import Stack

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Scope = Literal["database", "server"]
"""What a copy must have of its own: roles and server settings are shared by all databases."""


class Fault(Protocol):
    """One change to a throw-away copy of the stack."""

    @property
    def name(self) -> str:
        """A plain slug, unique among the falsifiers of one check."""

    @property
    def kind(self) -> str:
        """``sql`` or ``settings``."""

    @property
    def scope(self) -> Scope:
        """``server`` when the copy needs a server of its own."""

    def describe(self) -> str:
        """Return what is changed, readable: the statement, the variable and its value."""

    def fingerprint(self, stack: Stack) -> str:
        """Look at the object that the fault changes, before and after."""

    def inject(self, stack: Stack) -> None:
        """Make the change."""


def checked_name(name: str) -> str:
    """Return the name when it is a plain slug.

    Raises:
        BadInputError: it is not; names become file names and node ids.

    """
    if not SLUG.fullmatch(name):
        raise BadInputError(
            f"falsifier name: got {name!r}, expected a slug of small letters, digits and dashes"
        )
    return name
