"""The signer of a bundle, and the part of its statement that can be trusted: steps 2 to 4.

Owns the check of the envelope's signature, by the given key or the bundle's own, and of key ids.
Leaves comparing the statement with the files to
`gateproof_evidence.verification.integrity.closed_world`.

Source: design, "Verification"; docs/reference/verification.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateproof_evidence.errors import BadInputError, EvidenceError
from gateproof_evidence.format import public_key as publickey
from gateproof_evidence.format.attestation import Predicate, parse_statement
from gateproof_evidence.format.canonical import DuplicateKeyError
from gateproof_evidence.format.envelope import Envelope, pae
from gateproof_evidence.format.layout import ATTESTATION, PUBLIC_KEY
from gateproof_evidence.format.tree import File
from gateproof_evidence.model import Digest
from gateproof_evidence.model.finding import Code, Finding

UNKNOWN = "unknown"


class Signature(StrEnum):
    """The result of checking the signature of an attestation."""

    VALID = "valid"
    """Valid by the given key, or by the bundle's own if none is given."""
    OTHER_KEY = "other_key"
    """Valid by the bundle's own key, which is not the given one."""
    INVALID = "invalid"
    """Valid by no key that is known."""
    NOT_CHECKED = "not_checked"
    """There is no attestation or no key to check."""


class Authenticity:
    """The statement as claimed, the statement if it can be trusted, and its signer."""

    def __init__(self, files: Mapping[str, File], given: Ed25519PublicKey | None) -> None:
        self.findings: list[Finding] = []
        self.claimed: Predicate | None = None
        self.trusted: Predicate | None = None
        self.signer = UNKNOWN
        self.signature = Signature.NOT_CHECKED
        envelope = self._envelope(files)
        own = self._own_key(files)
        if envelope is not None:
            self.signature = self._signature(envelope, given, own)
            signed = self.signature is Signature.VALID
            self._statement(envelope, given or own, trusted=signed)
            if signed and given is not None and own is not None:
                self._compare_keyid(publickey.keyid(own), publickey.keyid(given), path=PUBLIC_KEY)

    def _add(self, code: Code, path: str, message: str) -> None:
        self.findings.append(Finding(code=code, path=path, message=message))

    def _envelope(self, files: Mapping[str, File]) -> Envelope | None:
        file = files.get(ATTESTATION)
        if file is None:
            self._add(
                Code.ATTESTATION_MISSING, ATTESTATION, "no attestation, so nothing can be trusted"
            )
            return None
        if file.content is None:
            self._add(Code.ATTESTATION_MALFORMED, ATTESTATION, "too large to read")
            return None
        try:
            return Envelope.from_bytes(file.content)
        except DuplicateKeyError as error:
            self._add(Code.JSON_DUPLICATE_KEY, ATTESTATION, str(error))
        except EvidenceError as error:
            self._add(Code.ATTESTATION_MALFORMED, ATTESTATION, str(error))
        return None

    def _own_key(self, files: Mapping[str, File]) -> Ed25519PublicKey | None:
        file = files.get(PUBLIC_KEY)
        content = (file.content if file else None) or b""
        try:
            key = publickey.load_public_key(content, name=PUBLIC_KEY)
        except BadInputError as error:
            self._add(Code.KEY_UNREADABLE, PUBLIC_KEY, str(error).removeprefix(f"{PUBLIC_KEY}: "))
            return None
        if publickey.to_pem(key) != content:
            self._add(Code.KEY_UNREADABLE, PUBLIC_KEY, "got another form, expected plain PEM")
        return key

    def _signature(
        self, envelope: Envelope, given: Ed25519PublicKey | None, own: Ed25519PublicKey | None
    ) -> Signature:
        key = given or own
        if key is None:
            message = "no key to check the signature with; name the signer's with --key"
            self._add(Code.SIGNATURE_NOT_CHECKED, ATTESTATION, message)
            return Signature.NOT_CHECKED
        if _is_valid(envelope, key):
            self.signer = publickey.keyid(given) if given else UNKNOWN
            return Signature.VALID
        if own is not None and _is_valid(envelope, own):
            message = f"signed by {publickey.keyid(own)}, expected {publickey.keyid(key)}"
            self._add(Code.WRONG_SIGNER, ATTESTATION, message)
            return Signature.OTHER_KEY
        self._add(Code.SIGNATURE_INVALID, ATTESTATION, _invalid(given, own))
        return Signature.INVALID

    def _statement(
        self, envelope: Envelope, key: Ed25519PublicKey | None, *, trusted: bool
    ) -> None:
        try:
            self.claimed = parse_statement(envelope.payload)
        except DuplicateKeyError as error:
            self._add(Code.JSON_DUPLICATE_KEY, ATTESTATION, str(error))
        except EvidenceError as error:
            self._add(Code.ATTESTATION_MALFORMED, ATTESTATION, str(error))
        if not trusted or self.claimed is None or key is None:
            return
        self.trusted = self.claimed
        for keyid in (envelope.keyid, self.claimed.key.keyid):
            self._compare_keyid(keyid, publickey.keyid(key))

    def _compare_keyid(self, got: Digest, expected: Digest, *, path: str = ATTESTATION) -> None:
        if got != expected:
            message = f"key id: got {got}, expected {expected}, the key that signed"
            self._add(Code.KEY_MISMATCH, path, message)


def _is_valid(envelope: Envelope, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(envelope.signature, pae(envelope.payload))
    except InvalidSignature:
        return False
    return True


def _invalid(given: Ed25519PublicKey | None, own: Ed25519PublicKey | None) -> str:
    """Return by which keys a signature is not valid, and what that leaves open."""
    if given is None:
        return "not valid by public-key.pem: the statement, its signature or that key was altered"
    if own is None:
        return (
            f"not valid by the given key {publickey.keyid(given)}; whether another key signed "
            "cannot be checked without the bundle's own"
        )
    if publickey.keyid(given) == publickey.keyid(own):
        return f"not valid by {publickey.keyid(own)}: the statement or its signature was altered"
    return (
        f"valid neither by the given key {publickey.keyid(given)} nor by public-key.pem, "
        f"{publickey.keyid(own)}"
    )
