"""Shopify: base64 HMAC-SHA256 of the body; id and type are headers.

The signature covers the body alone. A client that has seen a delivery can send its body again under
another id, which makes another row: deliveries need TLS.

Source: Shopify, "Verify webhooks", "Webhook headers".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from system.api.delivery import Delivery
from system.api.vendors.vendor import Described, base64_hmac, is_equal, moment

SIGNATURE = "x-shopify-hmac-sha256"
ID = "x-shopify-webhook-id"
TOPIC = "x-shopify-topic"


class Shopify:
    """Verifies and describes the events of Shopify."""

    known_types = frozenset(
        {
            *("orders/create", "orders/updated", "orders/paid", "orders/cancelled"),
            *("orders/fulfilled", "refunds/create", "checkouts/create", "checkouts/update"),
        }
    )

    def is_signed(self, delivery: Delivery, secret: str, now: datetime) -> bool:  # noqa: ARG002 (Vendor)
        """Return whether the body is signed with a secret."""
        given = delivery.headers.get(SIGNATURE, "")
        return is_equal(given, base64_hmac(secret, delivery.raw))

    def describe(self, headers: Mapping[str, str], value: Any, now: datetime) -> Described:  # noqa: ARG002 (Vendor)
        """Return the identity of an order's event."""
        return Described(
            event_type=headers[TOPIC],
            event_id=headers[ID],
            occurred_at=moment(value.get("updated_at") or value["created_at"]),
        )

    def type_of(self, headers: Mapping[str, str], value: Any) -> object:  # noqa: ARG002 (Vendor)
        """Return the topic, if there is one."""
        return headers.get(TOPIC)

    def id_of(self, headers: Mapping[str, str], value: Any) -> object:  # noqa: ARG002 (Vendor)
        """Return the id, if there is one."""
        return headers.get(ID)
