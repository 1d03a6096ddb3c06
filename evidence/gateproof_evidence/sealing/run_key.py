"""The key that signs a run.

Owns private keys: making, loading and using them. `gateproof_evidence.sealing.seal` chooses the
bytes to sign. Verification never imports this module.

Source: design, "The bundle"; RFC 8032 (Ed25519), RFC 5958 (PKCS #8).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from gateproof_evidence.errors import BadInputError, NotWritableError
from gateproof_evidence.format import public_key as publickey
from gateproof_evidence.model import Digest

PASSPHRASE_VARIABLE = "GATEPROOF_SIGNING_KEY_PASSPHRASE"  # noqa: S105 (a name, not a passphrase)
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """An Ed25519 key that signs a run; a signature by an ephemeral key shows integrity only."""

    is_ephemeral: bool
    """Whether the key was made for this run and is not kept: it shows no origin."""
    _private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def ephemeral(cls) -> RunKey:
        """Return a new key for one run."""
        return cls(is_ephemeral=True, _private=Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None) -> RunKey:
        """Load a private key from a file that only its owner can read.

        Args:
            path: a file in PEM (PKCS #8) or OpenSSH form.
            passphrase: decrypts an encrypted key; None for a key that is not encrypted.

        Raises:
            BadInputError: the file is missing, is readable by group or others, or contains no
                Ed25519 key that the passphrase unlocks.

        """
        content = publickey.plain_text(_read_private(path), name=f"{path}: signing key")
        return cls(is_ephemeral=False, _private=_parse(path, content, passphrase))

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM."""
        return publickey.to_pem(self._private.public_key())

    @property
    def keyid(self) -> Digest:
        """SHA-256 of the public key's SubjectPublicKeyInfo in DER."""
        return publickey.keyid(self._private.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature over a message."""
        return self._private.sign(message)


def generate(path: Path) -> RunKey:
    """Write a new private key that only its owner can read, and its public key as ``.pub.pem``.

    Both files are in the same folder.

    Raises:
        NotWritableError: one of the two files exists already, or the folder is not writable.

    """
    private = Ed25519PrivateKey.generate()
    key = RunKey(is_ephemeral=False, _private=private)
    public_path = path.with_name(f"{path.name}.pub.pem")
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_new(path, pem, mode=0o600)
    _write_new(public_path, key.public_pem, mode=0o644)
    return key


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    try:
        # O_EXCL: a link of that name is a file that exists.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    except FileNotFoundError as error:
        raise NotWritableError(
            f"{path}: new key: got no folder {path.parent}, expected an existing one; make it with "
            f"mkdir -p {path.parent}, or name another"
        ) from error
    except FileExistsError as error:
        raise NotWritableError(
            f"{path}: new key: got a file of that name, expected a free name; name another, or "
            "remove the old key"
        ) from error
    except OSError as error:
        raise NotWritableError(
            f"{path}: new key: got {error.strerror}, expected a folder that can be written; name "
            "another"
        ) from error


def _read_private(path: Path) -> bytes:
    """Read mode and content through one descriptor, so that both belong to the same file."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise BadInputError(
            f"{path}: signing key: got {error.strerror}, expected a readable file; "
            "name the private key"
        ) from error
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise BadInputError(
            f"{path}: signing key: got mode {stat.S_IMODE(status.st_mode):04o}, expected a file "
            f"that only its owner can read; chmod 600 {path}"
        )
    return content


def _parse(path: Path, content: bytes, passphrase: bytes | None) -> Ed25519PrivateKey:
    load = load_ssh_private_key if content.startswith(_OPENSSH) else load_pem_private_key
    try:
        key = load(content, passphrase)
    except TypeError as error:
        raise BadInputError(_passphrase_problem(path, passphrase)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInputError(_parse_problem(path, error, passphrase)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInputError(
            f"{path}: signing key: got {type(key).__name__.removeprefix('_')}, expected Ed25519; "
            "make one with gateproof keygen"
        )
    return key


def _parse_problem(path: Path, error: Exception, passphrase: bytes | None) -> str:
    if passphrase is None and "password" in str(error).lower():
        return _passphrase_problem(path, passphrase)
    if "bcrypt" in str(error):
        return (
            f"{path}: signing key: got an encrypted OpenSSH key, expected one that this Python can "
            "unlock; install the package bcrypt, or name a key in PEM (PKCS #8)"
        )
    hint = f"check {PASSPHRASE_VARIABLE}" if passphrase else "make one with gateproof keygen"
    return (
        f"{path}: signing key: got no private key that can be read, expected Ed25519 in PEM "
        f"(PKCS #8) or OpenSSH form; {hint}"
    )


def _passphrase_problem(path: Path, passphrase: bytes | None) -> str:
    if passphrase is None:
        return (
            f"{path}: signing key: got an encrypted key and no passphrase, expected both; "
            f"set {PASSPHRASE_VARIABLE}"
        )
    return (
        f"{path}: signing key: got a passphrase for a key that is not encrypted, expected none; "
        f"unset {PASSPHRASE_VARIABLE}"
    )
