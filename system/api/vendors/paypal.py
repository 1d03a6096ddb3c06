"""PayPal: SHA256withRSA over id, time, webhook id and CRC-32 of the body.

The secret of a registration is its webhook id. The certificate is read from a local folder, under
the last part of the URL that the header names: what a request names is never fetched. A certificate
in that folder is trusted until it expires; no chain is checked.

Source: PayPal, "Integrate webhooks", "Verify the webhook signature".
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from system.api.delivery import Delivery
from system.api.vendors.vendor import Described, member, moment

SIGNATURE = "paypal-transmission-sig"
ID = "paypal-transmission-id"
TIME = "paypal-transmission-time"
CERTIFICATE = "paypal-cert-url"
ALGORITHM = "paypal-auth-algo"
SHA256_WITH_RSA = "SHA256withRSA"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Paypal:
    """Verifies and describes the events of PayPal."""

    known_types = frozenset(
        {
            *("PAYMENT.CAPTURE.COMPLETED", "PAYMENT.CAPTURE.DENIED", "PAYMENT.CAPTURE.REFUNDED"),
            *("CHECKOUT.ORDER.APPROVED", "CHECKOUT.ORDER.COMPLETED", "PAYMENT.SALE.COMPLETED"),
        }
    )

    def __init__(self, certificates: Path) -> None:
        self._certificates = certificates

    def is_signed(self, delivery: Delivery, secret: str, now: datetime) -> bool:
        """Return whether the delivery is signed with the key of a trusted certificate."""
        headers = delivery.headers
        key = self._key(headers.get(CERTIFICATE, ""), now)
        if key is None or headers.get(ALGORITHM) != SHA256_WITH_RSA:
            return False
        parts = (headers.get(ID, ""), headers.get(TIME, ""), secret, zlib.crc32(delivery.raw))
        signed = "|".join(map(str, parts)).encode("utf-8", "replace")
        try:
            signature = base64.b64decode(headers.get(SIGNATURE, ""), validate=True)
            key.verify(signature, signed, padding.PKCS1v15(), SHA256())
        except (binascii.Error, ValueError, InvalidSignature):
            return False
        return True

    def describe(self, headers: Mapping[str, str], value: Any, now: datetime) -> Described:  # noqa: ARG002 (Vendor)
        """Return the identity of an event, which is in its body."""
        return Described(
            event_type=value["event_type"],
            event_id=value["id"],
            occurred_at=moment(value["create_time"]),
        )

    def type_of(self, headers: Mapping[str, str], value: Any) -> object:  # noqa: ARG002 (Vendor)
        """Return the type, if there is one."""
        return member(value, "event_type")

    def id_of(self, headers: Mapping[str, str], value: Any) -> object:  # noqa: ARG002 (Vendor)
        """Return the id, if there is one."""
        return member(value, "id")

    def _key(self, url: str, now: datetime) -> rsa.RSAPublicKey | None:
        """Return the key of a trusted certificate that is valid now; None if there is none."""
        name = url.rpartition("/")[2].removesuffix(".pem")
        if not _NAME.fullmatch(name):
            return None
        try:
            content = (self._certificates / f"{name}.pem").read_bytes()
            certificate = x509.load_pem_x509_certificate(content)
        except (OSError, ValueError):
            return None
        is_valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        key = certificate.public_key()
        return key if is_valid and isinstance(key, rsa.RSAPublicKey) else None
