"""DSSE: a payload with a signature over its type and bytes.

Owns the encoding that is signed (PAE) and the canonical form of the file: canonical JSON, standard
base64, exactly one signature. Leaves the payload's meaning to
`gateproof_evidence.format.attestation`, and keys to `gateproof_evidence.sealing.run_key` and
`gateproof_evidence.format.public_key`. The keyid is not authenticated and has no effect.

Source: DSSE v1.0.2, protocol and envelope.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.canonical import canonical_json, read_json
from gateproof_evidence.model import Digest

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class EnvelopeError(EvidenceError):
    """An envelope is not in canonical form."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A payload and its one signature."""

    payload: bytes
    keyid: Digest
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the envelope as canonical JSON."""
        return canonical_json(
            {
                "payload": _encode(self.payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": self.keyid, "sig": _encode(self.signature)}],
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> Envelope:
        """Read an envelope; refuse every form but the canonical one of `to_bytes`.

        Raises:
            EvidenceError: JSON with duplicate keys, other fields, another payload type, no or
                several signatures, base64 that is not canonical, or bytes that differ.

        """
        value = read_json(content)
        _expect_fields(value, {"payload", "payloadType", "signatures"}, "envelope")
        if value["payloadType"] != PAYLOAD_TYPE:
            raise EnvelopeError(
                f"payloadType: got {value['payloadType']!r}, expected {PAYLOAD_TYPE}"
            )
        signature = _only_signature(value["signatures"])
        envelope = cls(
            payload=_decode(value["payload"], "payload"),
            keyid=str(signature["keyid"]),
            signature=_decode(signature["sig"], "signature"),
        )
        if envelope.to_bytes() != content:
            raise EnvelopeError("bytes: got another form, expected canonical JSON")
        return envelope


def pae(payload: bytes) -> bytes:
    """Return the signed bytes: DSSE's pre-authentication encoding of an in-toto payload."""
    kind = PAYLOAD_TYPE.encode("ascii")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _only_signature(signatures: Any) -> dict[str, Any]:
    if not isinstance(signatures, list) or len(signatures) != 1:
        count = len(signatures) if isinstance(signatures, list) else "another type"
        raise EnvelopeError(f"signatures: got {count}, expected a list of exactly 1")
    signature = signatures[0]
    _expect_fields(signature, {"keyid", "sig"}, "signature")
    assert isinstance(signature, dict)
    return signature


def _expect_fields(value: Any, fields: set[str], what: str) -> None:
    if not isinstance(value, dict) or set(value) != fields:
        got = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise EnvelopeError(f"{what}: got {got}, expected the fields {sorted(fields)}")


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _decode(text: Any, what: str) -> bytes:
    """Decode standard base64; refuse any other form (URL alphabet, unused bits)."""
    if not isinstance(text, str):
        raise EnvelopeError(f"{what}: got {type(text).__name__}, expected base64 text")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnvelopeError(f"{what}: got {error}, expected standard base64") from error
    if _encode(content) != text:
        raise EnvelopeError(f"{what}: got base64 with unused bits set, expected its canonical form")
    return content
