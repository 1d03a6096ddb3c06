"""WooCommerce: base64 HMAC-SHA256 of the body; id and type are headers.

The signature covers the body alone, as that of Shopify.

Source: WooCommerce, "Webhooks", and its class WC_Webhook.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from system.api.delivery import Delivery
from system.api.vendors.vendor import Described, base64_hmac, is_equal, moment

SIGNATURE = "x-wc-webhook-signature"
ID = "x-wc-webhook-delivery-id"
TOPIC = "x-wc-webhook-topic"


class Woocommerce:
    """Verifies and describes the events of WooCommerce."""

    known_types = frozenset(
        {"order.created", "order.updated", "order.deleted", "order.restored", "customer.created"}
    )

    def is_signed(self, delivery: Delivery, secret: str, now: datetime) -> bool:  # noqa: ARG002 (Vendor)
        """Return whether the body is signed with a secret."""
        given = delivery.headers.get(SIGNATURE, "")
        return is_equal(given, base64_hmac(secret, delivery.raw))

    def describe(self, headers: Mapping[str, str], value: Any, now: datetime) -> Described:
        """Return the identity of an order's event; without a time of its own it is now."""
        created = value.get("date_created_gmt")
        return Described(
            event_type=headers[TOPIC],
            event_id=headers[ID],
            occurred_at=moment(created) if created else now,
        )

    def type_of(self, headers: Mapping[str, str], value: Any) -> object:  # noqa: ARG002 (Vendor)
        """Return the topic, if there is one."""
        return headers.get(TOPIC)

    def id_of(self, headers: Mapping[str, str], value: Any) -> object:  # noqa: ARG002 (Vendor)
        """Return the id, if there is one."""
        return headers.get(ID)
