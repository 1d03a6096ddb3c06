"""Public keys: reading them, and their ids.

Owns the code that signing and verification share, and the text form of files that people edit.
Leaves private keys to `gateproof_evidence.sealing.run_key`, which verification must not import.

Source: RFC 8410 (Ed25519 SubjectPublicKeyInfo).
"""

from __future__ import annotations

import re

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

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""The mark that editors of Windows write before UTF-8."""

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
MARKS = (BYTE_ORDER_MARK, *_UTF_16)
"""Beginnings of files that an editor has converted."""

_LARGEST_HINT = 4096
"""The bytes at the beginning of a file that are searched for what it is."""
_KINDS = (
    (rb"PRIVATE KEY-----", "a private key"),
    (rb"-----BEGIN (X509 )?CERTIFICATE-----", "a certificate"),
    (rb"---- BEGIN SSH2 PUBLIC KEY ----", "a key in the form of RFC 4716"),
    (rb"-----BEGIN SSH SIGNATURE-----", "an SSH signature"),
    (rb"-----BEGIN PGP", "a file of OpenPGP"),
    (rb"^\S+@\S+\s.*\bssh-", "a list of allowed signers"),
    (rb"\Assh-ed25519-cert-v01@", "an SSH certificate"),
    (rb"\A(ecdsa|sk|ssh)-", "an SSH key of another type, or one that is damaged"),
    (rb"\A\s*\Z", "an empty file"),
)
"""Patterns of files that people take for a public key."""
_ADVICE = {
    "a private key": "its public key, which openssl pkey -in KEY -pubout or ssh-keygen -y -f KEY "
    "prints; give a private key to no verifier"
}


def plain_text(content: bytes, *, name: str) -> bytes:
    """Return the content of a text file without byte-order marks; binary content is unchanged.

    Raises:
        BadInputError: it is UTF-16, which neither this package nor ssh-keygen reads.

    """
    if content.startswith(_UTF_16):
        raise BadInputError(
            f"{name}: got UTF-16, expected text in UTF-8; save it as UTF-8 (PowerShell: "
            "-Encoding utf8)"
        )
    if b"\0" in content:
        return content
    return re.sub(rb"(?m)^" + BYTE_ORDER_MARK, b"", content)


def load_public_key(content: bytes, *, name: str) -> Ed25519PublicKey:
    """Read an Ed25519 public key.

    Args:
        content: PEM (SubjectPublicKeyInfo) or one OpenSSH ``ssh-ed25519 ...`` line.
        name: the name of the file or option, for messages.

    Raises:
        BadInputError: it is not a public key, or has another algorithm.

    """
    content = plain_text(content, name=f"{name}: public key")
    load = load_ssh_public_key if content.startswith(b"ssh-") else load_pem_public_key
    try:
        key = load(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        got = kind_of_file(content)
        advice = _ADVICE.get(got, "the signer's public key")
        raise BadInputError(
            f"{name}: public key: got {got}, expected an Ed25519 key in PEM or OpenSSH form; "
            f"name {advice}"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadInputError(
            f"{name}: public key: got {type(key).__name__.removeprefix('_')}, expected Ed25519; "
            "name the signer's public key"
        )
    return key


def kind_of_file(content: bytes) -> str:
    """Return in words what a file is that was expected to be a public key."""
    head = content[:_LARGEST_HINT]
    found = (kind for pattern, kind in _KINDS if re.search(pattern, head, re.MULTILINE))
    return next(found, f"something else ({len(content)} bytes)")


def keyid(key: Ed25519PublicKey) -> Digest:
    """Return the SHA-256 of the key's SubjectPublicKeyInfo in DER: independent of its encoding."""
    return digest_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def to_pem(key: Ed25519PublicKey) -> bytes:
    """Return the key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
