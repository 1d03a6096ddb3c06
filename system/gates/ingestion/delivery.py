"""Sign events as the vendors document it, with this gate's own code.

Source: Shopify, "Verify webhooks"; Stripe, "Verify webhook signatures manually"; WooCommerce,
"Webhooks"; PayPal, "Integrate webhooks".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateproof import drawn

VENDORS = ("shopify", "stripe", "paypal", "woocommerce")
SECRET = "gate-secret-of-an-endpoint"
CERTIFICATE = "GATE-CERT"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery."""

    vendor: str
    event_id: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def value(self) -> Any:
        """Return its body, parsed."""
        return json.loads(self.body)

    def with_body(self, body: bytes) -> Delivery:
        """Return it with another body, and not signed again."""
        return replace(self, body=body)

    def without(self, header: str) -> Delivery:
        """Return it without a header."""
        kept = {name: value for name, value in self.headers.items() if name != header}
        return replace(self, headers=kept)


def event(vendor: str, event_id: str) -> dict[str, Any]:
    """Return the body of an event that keeps the vendor's contract."""
    when = "2026-01-31T12:00:00"
    made: dict[str, dict[str, Any]] = {
        "shopify": {"id": 1, "created_at": f"{when}Z", "currency": "EUR", "total_price": "1.50"},
        "stripe": {
            "id": event_id,
            "object": "event",
            "type": "charge.succeeded",
            "created": 1769860800,
            "data": {"object": {"id": "ch_1"}},
        },
        "paypal": {
            "id": event_id,
            "event_type": "PAYMENT.CAPTURE.COMPLETED",
            "create_time": f"{when}Z",
            "resource_type": "capture",
            "resource": {"id": "1"},
        },
        "woocommerce": {"id": 1, "status": "processing", "currency": "EUR", "total": "1.50"},
    }
    return made[vendor]


def id_of(vendor: str, unique: str) -> str:
    """Return an event id in the vendor's form."""
    forms = {"stripe": f"evt_{unique}", "paypal": f"WH-{unique.upper()}"}
    return forms.get(vendor, unique)


def signed(
    vendor: str,
    unique: str,
    *,
    change: Mapping[str, Any] | None = None,
    secret: str = SECRET,
    age_s: int = 0,
    size: int = 0,
) -> Delivery:
    """Return a delivery as the vendor would send it.

    Args:
        vendor: one of `VENDORS`.
        unique: hexadecimal digits that make the event's id.
        change: members of the body that differ.
        secret: the secret that signs; for PayPal it is the webhook id.
        age_s: how long ago it was signed.
        size: bytes of the body, which is filled with blanks; 0 leaves it as short as it is.

    """
    event_id = id_of(vendor, unique)
    body = json.dumps({**event(vendor, event_id), **(change or {})}).encode()
    if size:
        body = body[:-1] + b" " * (size - len(body)) + body[-1:]
    own = drawn(lambda: SIGNING[vendor](body, event_id, secret, int(time.time()) - age_s))
    headers = {"content-type": "application/json", **own}
    return Delivery(vendor=vendor, event_id=event_id, body=body, headers=headers)


def _mac(secret: str, message: bytes) -> bytes:
    return hmac.new(secret.encode(), message, hashlib.sha256).digest()


def _shopify(body: bytes, event_id: str, secret: str, _: int) -> dict[str, str]:
    return {
        "x-shopify-hmac-sha256": base64.b64encode(_mac(secret, body)).decode(),
        "x-shopify-webhook-id": event_id,
        "x-shopify-topic": "orders/create",
    }


def _woocommerce(body: bytes, event_id: str, secret: str, _: int) -> dict[str, str]:
    return {
        "x-wc-webhook-signature": base64.b64encode(_mac(secret, body)).decode(),
        "x-wc-webhook-delivery-id": event_id,
        "x-wc-webhook-topic": "order.created",
    }


def _stripe(body: bytes, _: str, secret: str, now: int) -> dict[str, str]:
    return {"stripe-signature": f"t={now},v1={_mac(secret, f'{now}.'.encode() + body).hex()}"}


def _paypal(body: bytes, event_id: str, secret: str, now: int) -> dict[str, str]:
    sent = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = f"{event_id}|{sent}|{secret}|{zlib.crc32(body)}".encode()
    return {
        "paypal-transmission-id": event_id,
        "paypal-transmission-time": sent,
        "paypal-transmission-sig": base64.b64encode(
            _key().sign(message, padding.PKCS1v15(), SHA256())
        ).decode(),
        "paypal-cert-url": f"https://api.paypal.example/certs/{CERTIFICATE}",
        "paypal-auth-algo": "SHA256withRSA",
    }


SIGNING: dict[str, Callable[[bytes, str, str, int], dict[str, str]]] = {
    "shopify": _shopify,
    "stripe": _stripe,
    "paypal": _paypal,
    "woocommerce": _woocommerce,
}
SIGNATURES = {
    "shopify": "x-shopify-hmac-sha256",
    "stripe": "stripe-signature",
    "paypal": "paypal-transmission-sig",
    "woocommerce": "x-wc-webhook-signature",
}
"""The header of each vendor's signature."""


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate() -> str:
    """Return the certificate of PayPal's key in this run, in PEM."""
    return drawn(_certificate)


@cache
def _certificate() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gate.example")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(_key().public_key()).serial_number(1)
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return made.sign(_key(), SHA256()).public_bytes(Encoding.PEM).decode()
