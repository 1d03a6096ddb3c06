"""Define what a vendor must offer, and what several share."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from system.api.delivery import Delivery
from system.errors import IngestionError

FIRST_YEAR, LAST_YEAR = 1970, 9000


@dataclass(frozen=True, kw_only=True)
class Described:
    """The identity of an event."""

    event_type: str
    event_id: str
    occurred_at: datetime
    """Aware."""


class Vendor(Protocol):
    """A vendor that sends webhooks."""

    known_types: frozenset[str]
    """The types that metrics name; any other is counted as `other`."""

    def is_signed(self, delivery: Delivery, secret: str, now: datetime) -> bool:
        """Return whether a delivery has a valid signature under a secret."""
        ...

    def describe(self, headers: Mapping[str, str], value: Any, now: datetime) -> Described:
        """Return the identity of an event that keeps the contract.

        Raises:
            IngestionError: its time cannot be used.

        """
        ...

    def type_of(self, headers: Mapping[str, str], value: Any) -> object:
        """Return the type of a delivery that may break the contract, whatever is there."""
        ...

    def id_of(self, headers: Mapping[str, str], value: Any) -> object:
        """Return the id of a delivery that may break the contract, whatever is there."""
        ...


def is_equal(given: str, expected: str) -> bool:
    """Return whether two texts are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("latin-1", "replace"), expected.encode("ascii"))


def base64_hmac(secret: str, raw: bytes) -> str:
    """Return the base64 HMAC-SHA256 of a body."""
    return base64.b64encode(hmac.digest(secret.encode(), raw, hashlib.sha256)).decode("ascii")


def member(value: Any, key: str) -> object:
    """Return a member of a JSON value; None if it is no object, or has none."""
    return value.get(key) if isinstance(value, dict) else None


def moment(text: str) -> datetime:
    """Return a time that has the form of the contract; without an offset it is UTC.

    Raises:
        IngestionError: it is no time (a 13th month), or is too early or too late for a window.

    """
    try:
        read = datetime.fromisoformat(text.upper())
    except ValueError:
        raise IngestionError(
            "event: got a time that no calendar has, expected a real one"
        ) from None
    return usable(read)


def usable(read: datetime) -> datetime:
    """Return a time in UTC of which a window can be made; without an offset it is UTC.

    PostgreSQL takes no offset of 16 hours or more, which RFC 3339 allows.

    Raises:
        IngestionError: it is too early or too late.

    """
    if not FIRST_YEAR < read.year < LAST_YEAR:
        raise IngestionError(f"event: got a time in the year {read.year}, expected a nearer one")
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
