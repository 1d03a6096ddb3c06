"""The inputs of recipes: sealed samples, and the keys of signers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.sample import fixed_key, sealed

ATTESTATION = "attestation.dsse.json"
MANIFEST, TAGS = "manifest-sha256.txt", "tagmanifest-sha256.txt"

KEYS = {"signer": 1, "other": 2, "third": 3}
"""Names of keys to their seeds; ``signer`` seals the samples."""

REVIEWERS = {"ada": 11, "ada-again": 12, "bob": 13, "eve": 14}
"""Reviewers' SSH keys; ``ada-again`` is Ada's second key, and Eve is not allowed."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """The inputs of recipes."""

    folder: Path
    """A temporary folder for the whole corpus."""
    samples: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> Workshop:
        """Seal the samples and write the keys."""
        for name in ("blocked", "released"):
            (folder / name).mkdir()
        samples = {
            "blocked": sealed(folder / "blocked"),
            "released": sealed(folder / "released", failing=False),
        }
        for name, number in KEYS.items():
            (folder / f"{name}.pem").write_bytes(fixed_key(number).public_pem)
        for name, number in REVIEWERS.items():
            write_ssh_key(folder / name, number)
        return cls(folder=folder, samples=samples)

    def public_line(self, reviewer: str) -> str:
        """Return a reviewer's public key in OpenSSH's form."""
        return (self.folder / f"{reviewer}.pub").read_text().strip()


def write_ssh_key(path: Path, number: int) -> None:
    """Write a private key in OpenSSH's form, and its public key."""
    private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public + b"\n")
