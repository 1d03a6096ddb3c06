"""Identifiers that were never used before."""

from __future__ import annotations

import itertools
import secrets
import uuid
from collections.abc import Iterator

from gateproof.base.draw import drawn, new_uuid

WHOLE_NUMBERS = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
"""The types of whole numbers, by the names that PostgreSQL gives them, with their largest value."""


class Ids:
    """Unique identifiers, so that the data of one check never collides with that of another."""

    def uuid(self) -> uuid.UUID:
        """Return a UUID that was never used."""
        return new_uuid()

    def slug(self, prefix: str = "id") -> str:
        """Return a short name that was never used."""
        return f"{prefix}-{new_uuid().hex[:12]}"

    def of_type(self, name: str, *, length: int | None = None) -> str:
        """Return the text of a value that was never used; later numbers are larger.

        Args:
            name: the type as PostgreSQL names it without a length: ``uuid``, ``smallint``,
                ``integer``, ``bigint``, ``numeric``, or any type of texts.
            length: the maximum number of characters of a text.

        """
        if name == "uuid":
            return str(self.uuid())
        largest = WHOLE_NUMBERS.get(name, 2**63 - 1 if name == "numeric" else None)
        if largest is not None:
            number = drawn(lambda: next(_NUMBERS))
            return str(number % largest if largest < _FIRST else number)
        return new_uuid().hex[:length]


_FIRST = 1_000_000_000
_NUMBERS: Iterator[int] = itertools.count(_FIRST + secrets.randbelow(10**9))
"""Numbers that fit into an `integer`; the random start differs in each process."""
