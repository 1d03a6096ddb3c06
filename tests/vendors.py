"""Sign events as the vendors document it, without any code of the system.

The HMAC is written out after RFC 2104, so that a vector does not depend on how the system calls a
library. A test changes a delivery and sends it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

VENDORS = ("shopify", "stripe", "paypal", "woocommerce")
SECRET = "5a1f-secret-of-one-registration"
CERTIFICATE = "CERT-1"
_BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One signed delivery."""

    vendor: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_body(self, body: bytes) -> Delivery:
        """Return it with another body, and not signed again."""
        return Delivery(vendor=self.vendor, body=body, headers=self.headers)

    def but(self, **headers: str | None) -> Delivery:
        """Return it with headers changed or left out, and not signed again.

        The names of headers have underscores for hyphens.
        """
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in self.headers.items() if name not in changed}
        added = {name: value for name, value in changed.items() if value is not None}
        return Delivery(
            vendor=self.vendor,
            body=self.body,
            headers={**kept, **added},
        )


def hmac_sha256(secret: str, message: bytes) -> bytes:
    """Return an HMAC-SHA256. Source: RFC 2104, section 2."""
    key = secret.encode()
    key = hashlib.sha256(key).digest() if len(key) > _BLOCK else key
    key = key.ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(bytes(one ^ 0x36 for one in key) + message).digest()
    return hashlib.sha256(bytes(one ^ 0x5C for one in key) + inner).digest()


def event(vendor: str, number: int = 1) -> dict[str, Any]:
    """Return the body of a vendor's event."""
    made: dict[str, dict[str, Any]] = {
        "shopify": {
            "id": number,
            "created_at": "2026-01-31T12:00:00+01:00",
            "currency": "EUR",
            "total_price": "19.99",
        },
        "stripe": {
            "id": f"evt_{number}",
            "object": "event",
            "type": "charge.succeeded",
            "created": 1769857200,
            "data": {"object": {"id": "ch_1", "amount": 1999}},
        },
        "paypal": {
            "id": f"WH-{number}",
            "event_type": "PAYMENT.CAPTURE.COMPLETED",
            "create_time": "2026-01-31T12:00:00Z",
            "resource_type": "capture",
            "resource": {"id": "42311647XV020574X"},
        },
        "woocommerce": {
            "id": number,
            "status": "processing",
            "currency": "EUR",
            "total": "19.99",
            "date_created_gmt": "2026-01-31T12:00:00",
        },
    }
    return made[vendor]


def signed(
    vendor: str,
    body: bytes | None = None,
    *,
    number: int = 1,
    secret: str = SECRET,
    at: float | None = None,
) -> Delivery:
    """Return a delivery that the vendor would send.

    Args:
        vendor: one of `VENDORS`.
        body: the event of `number` by default.
        number: makes the id.
        secret: of the registration; for PayPal its webhook id.
        at: the time of signing, in seconds since the epoch; now by default.

    """
    body = json.dumps(event(vendor, number)).encode() if body is None else body
    now = time.time() if at is None else at
    own = _HEADERS[vendor](body, number, secret, now)
    return Delivery(vendor=vendor, body=body, headers={"content-type": "application/json", **own})


def _shopify(body: bytes, number: int, secret: str, _: float) -> dict[str, str]:
    return {
        "x-shopify-hmac-sha256": base64.b64encode(hmac_sha256(secret, body)).decode(),
        "x-shopify-webhook-id": f"delivery-{number}",
        "x-shopify-topic": "orders/create",
    }


def _woocommerce(body: bytes, number: int, secret: str, _: float) -> dict[str, str]:
    return {
        "x-wc-webhook-signature": base64.b64encode(hmac_sha256(secret, body)).decode(),
        "x-wc-webhook-delivery-id": f"delivery-{number}",
        "x-wc-webhook-topic": "order.created",
    }


def _stripe(body: bytes, _: int, secret: str, now: float) -> dict[str, str]:
    sent = str(int(now))
    signature = hmac_sha256(secret, sent.encode() + b"." + body).hex()
    return {"stripe-signature": f"t={sent},v1={signature},v0={'0' * 64}"}


def _paypal(body: bytes, number: int, secret: str, now: float) -> dict[str, str]:
    sent = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    transmission = f"transmission-{number}"
    message = f"{transmission}|{sent}|{secret}|{binascii.crc32(body) & 0xFFFFFFFF}"
    signature = private_key().sign(message.encode(), padding.PKCS1v15(), SHA256())
    return {
        "paypal-transmission-id": transmission,
        "paypal-transmission-time": sent,
        "paypal-transmission-sig": base64.b64encode(signature).decode(),
        "paypal-cert-url": f"https://api.paypal.example/certs/{CERTIFICATE}",
        "paypal-auth-algo": "SHA256withRSA",
    }


_HEADERS = {
    "shopify": _shopify,
    "woocommerce": _woocommerce,
    "stripe": _stripe,
    "paypal": _paypal,
}


@cache
def private_key() -> rsa.RSAPrivateKey:
    """Return the key that signs as PayPal, one for each process."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(*, days: int = 1) -> bytes:
    """Return a certificate of that key in PEM, which is valid for some days, or expired."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "messageverification.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key().public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .sign(private_key(), SHA256())
    )
    return made.public_bytes(Encoding.PEM)
