"""Identifiers that were never used before."""

from __future__ import annotations

import uuid


class Ids:
    """Unique identifiers, so that the data of one check never collides with that of another."""

    def uuid(self) -> uuid.UUID:
        """Return a UUID that was never used."""
        return uuid.uuid4()

    def slug(self, prefix: str = "id") -> str:
        """Return a short name that was never used."""
        return f"{prefix}-{uuid.uuid4().hex[:12]}"
