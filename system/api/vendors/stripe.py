"""Stripe: hex HMAC-SHA256 of time and body, with a tolerance for the time.

`Stripe-Signature` has one time (`t`) and one signature (`v1`) for each valid secret; other schemes
are left out of account.

Source: Stripe, "Verify webhook signatures manually".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from system.api.delivery import Delivery
from system.api.vendors.vendor import Described, is_equal, member, usable
from system.errors import IngestionError

SIGNATURE = "stripe-signature"
TOLERANCE_S = 300
MOST_SIGNATURES = 8
LONGEST_TIME = 12


class Stripe:
    """Verifies and describes the events of Stripe."""

    known_types = frozenset(
        {
            *("charge.succeeded", "charge.failed", "charge.refunded", "charge.dispute.created"),
            *("payment_intent.succeeded", "payment_intent.payment_failed"),
            *("checkout.session.completed", "invoice.paid", "invoice.payment_failed"),
        }
    )

    def is_signed(self, delivery: Delivery, secret: str, now: datetime) -> bool:
        """Return whether one of the signatures is that of time and body, and the time is near."""
        times, signatures = _parts(delivery.headers.get(SIGNATURE, ""))
        sent = times[0] if len(times) == 1 and _is_time(times[0]) else ""
        signed = sent.encode() + b"." + delivery.raw
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        matches = [is_equal(given, expected) for given in signatures]
        return bool(sent) and any(matches) and abs(now.timestamp() - int(sent)) <= TOLERANCE_S

    def describe(self, headers: Mapping[str, str], value: Any, now: datetime) -> Described:  # noqa: ARG002 (Vendor)
        """Return the identity of an event, which is in its body."""
        try:
            created = datetime.fromtimestamp(value["created"], UTC)
        except (OverflowError, ValueError, OSError):
            raise IngestionError("event: got a time beyond the calendar, expected one") from None
        return Described(
            event_type=value["type"], event_id=value["id"], occurred_at=usable(created)
        )

    def type_of(self, headers: Mapping[str, str], value: Any) -> object:  # noqa: ARG002 (Vendor)
        """Return the type, if there is one."""
        return member(value, "type")

    def id_of(self, headers: Mapping[str, str], value: Any) -> object:  # noqa: ARG002 (Vendor)
        """Return the id, if there is one."""
        return member(value, "id")


def _parts(header: str) -> tuple[list[str], list[str]]:
    """Return the times and the signatures of a header."""
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    return times, signatures[:MOST_SIGNATURES]


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_TIME
