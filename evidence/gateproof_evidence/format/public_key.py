"""Public keys: reading them, and their ids.

Owns the code that signing and verification share. Leaves private keys to
`gateproof_evidence.sealing.run_key`, which verification must not import.

Source: RFC 8410 (Ed25519 SubjectPublicKeyInfo).
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.model import Digest


def load_public_key(content: bytes, *, name: str) -> Ed25519PublicKey:
    """Read an Ed25519 public key.

    Args:
        content: PEM (SubjectPublicKeyInfo) or one OpenSSH ``ssh-ed25519 ...`` line.
        name: the name of the file or option, for messages.

    Raises:
        BadInputError: it is not a public key, or has another algorithm.

    """
    load = load_ssh_public_key if content.startswith(b"ssh-") else load_pem_public_key
    try:
        key = load(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInputError(
            f"{name}: public key: got something else, expected an Ed25519 key in PEM or OpenSSH "
            "form; name the signer's public key"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadInputError(
            f"{name}: public key: got {type(key).__name__.removeprefix('_')}, expected Ed25519; "
            "name the signer's public key"
        )
    return key


def keyid(key: Ed25519PublicKey) -> Digest:
    """Return the SHA-256 of the key's SubjectPublicKeyInfo in DER: independent of its encoding."""
    return digest_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def to_pem(key: Ed25519PublicKey) -> bytes:
    """Return the key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
