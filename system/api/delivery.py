"""Describe one delivery of a vendor, as it arrived."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

CORRELATION_ID = "X-Correlation-ID"

_CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One request to an endpoint of a vendor."""

    vendor: str
    token: str = field(repr=False)
    """The opaque token of the registration."""
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case names; a header that was sent twice is left out."""
    raw: bytes = field(repr=False)
    """The body, as it was sent and signed."""
    correlation_id: str


def correlation_id_of(sent: str | None) -> str:
    """Return the identifier that a client sent if it has the contract's form, else a new one."""
    return sent if sent and _CORRELATION_ID.fullmatch(sent) else str(uuid.uuid4())
