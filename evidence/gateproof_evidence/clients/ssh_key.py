"""Public keys in the form of OpenSSH: their ids, their fingerprints, and whether they are strong.

Owns reading one key from a line or from a blob. Leaves files of keys to
`gateproof_evidence.clients.allowed_signers` and `gateproof_evidence.clients.revocation_list`.
Certificates are refused: two of them may be for one key.

Source: RFC 4253 section 6.6 (key blobs); ssh-keygen(1), ``-l`` (fingerprints); NIST SP 800-131A
revision 2, section 3 (RSA of fewer than 2048 bits and DSA are no longer allowed).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import warnings
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHPublicKeyTypes,
    load_ssh_public_key,
)

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.model import Digest

SHORTEST_RSA, SHORTEST_CURVE = 2048, 256
"""The fewest bits of a key that counts."""


class KeyLineError(EvidenceError):
    """A text is not a plain public key of OpenSSH."""


@dataclass(frozen=True, kw_only=True)
class SshKey:
    """One public key."""

    keyid: Digest
    """The id of the key, independent of its encoding; a run's key has an id of the same form."""
    fingerprint: str
    """The fingerprint that ``ssh-keygen -l`` prints: ``SHA256:`` and base64 without padding."""
    weakness: str | None
    """Why its signatures do not count, or None for a strong key."""


def read_key(line: str, *, name: str) -> SshKey:
    """Read a key in the form of ``authorized_keys``: type, base64, and an optional comment.

    Args:
        line: the text.
        name: its place, for messages.

    Raises:
        KeyLineError: it is not a public key, is of an unknown type, or is a certificate.

    """
    if "-cert-v01@" in line.split(" ", 1)[0]:
        raise KeyLineError(f"{name}: key: got a certificate, expected a plain key")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # DSA is deprecated there, and refused here by name
            key = load_ssh_public_key(line.encode("utf-8"))
        content = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        blob = base64.b64decode(line.split()[1], validate=True)
    except (ValueError, UnsupportedAlgorithm, UnicodeEncodeError, binascii.Error) as error:
        raise KeyLineError(f"{name}: key: got {error}, expected an SSH public key") from error
    return SshKey(keyid=digest_of(content), fingerprint=_fingerprint(blob), weakness=_weakness(key))


def key_line(blob: bytes, *, name: str) -> str:
    """Return a key from its binary form as type and base64.

    Raises:
        KeyLineError: the type is not a plain name.

    """
    length = int.from_bytes(blob[:4], "big")
    kind = blob[4 : 4 + length]
    if not re.fullmatch(rb"[a-z0-9@.-]{1,64}", kind):
        raise KeyLineError(f"{name}: key: got another kind, expected an SSH public key")
    return f"{kind.decode('ascii')} {base64.b64encode(blob).decode('ascii')}"


def _fingerprint(blob: bytes) -> str:
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
    return f"SHA256:{digest.rstrip('=')}"


def _weakness(key: SSHPublicKeyTypes) -> str | None:
    if isinstance(key, RSAPublicKey):
        short = key.key_size < SHORTEST_RSA
        return f"got RSA of {key.key_size} bits, expected {SHORTEST_RSA} or more" if short else None
    if isinstance(key, EllipticCurvePublicKey):
        short = key.key_size < SHORTEST_CURVE
        return f"got a curve of {key.key_size} bits, expected {SHORTEST_CURVE}" if short else None
    if isinstance(key, Ed25519PublicKey):
        return None
    return "got DSA, expected Ed25519, ECDSA or RSA"
