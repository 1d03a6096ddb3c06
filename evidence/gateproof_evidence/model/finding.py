"""The codes of the findings of verification.

Owns the codes, which are stable for scripts. Leaves the checks to
`gateproof_evidence.verification.bundle` and `gateproof_evidence.verification.consistency`.
docs/reference/verification.md lists every code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """The name of a rule that a bundle violates."""

    LINK = "LINK"
    SPECIAL_FILE = "SPECIAL_FILE"
    EMPTY_FOLDER = "EMPTY_FOLDER"
    BAD_NAME = "BAD_NAME"
    LOOKALIKE = "LOOKALIKE"
    UNREADABLE = "UNREADABLE"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    ATTESTATION_MISSING = "ATTESTATION_MISSING"
    ATTESTATION_MALFORMED = "ATTESTATION_MALFORMED"
    KEY_UNREADABLE = "KEY_UNREADABLE"
    KEY_MISMATCH = "KEY_MISMATCH"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    WRONG_SIGNER = "WRONG_SIGNER"
    FILE_MISSING = "FILE_MISSING"
    FILE_UNLISTED = "FILE_UNLISTED"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    MANIFEST_MALFORMED = "MANIFEST_MALFORMED"
    MANIFEST_MISMATCH = "MANIFEST_MISMATCH"
    BAG_MALFORMED = "BAG_MALFORMED"
    JSON_DUPLICATE_KEY = "JSON_DUPLICATE_KEY"
    JSON_MALFORMED = "JSON_MALFORMED"
    RUN_MISMATCH = "RUN_MISMATCH"
    CATALOGUE_MISMATCH = "CATALOGUE_MISMATCH"
    CAPTURE_MISMATCH = "CAPTURE_MISMATCH"
    JOURNAL_INCOMPLETE = "JOURNAL_INCOMPLETE"
    VERDICT_MISMATCH = "VERDICT_MISMATCH"
    ROLLUP_MISMATCH = "ROLLUP_MISMATCH"
    PROOF_MISMATCH = "PROOF_MISMATCH"
    TAKEOVER_MISMATCH = "TAKEOVER_MISMATCH"
    REPORT_MISMATCH = "REPORT_MISMATCH"
    EXPORT_MISMATCH = "EXPORT_MISMATCH"
    NOT_RELEASED = "NOT_RELEASED"
    SIGNOFF_MALFORMED = "SIGNOFF_MALFORMED"
    SIGNOFF_OTHER_BUNDLE = "SIGNOFF_OTHER_BUNDLE"
    SIGNOFF_RESULT = "SIGNOFF_RESULT"
    SIGNOFF_TIME = "SIGNOFF_TIME"
    SIGNOFF_OWN_KEY = "SIGNOFF_OWN_KEY"
    SIGNOFF_NAMESPACE = "SIGNOFF_NAMESPACE"
    SIGNOFF_INVALID = "SIGNOFF_INVALID"
    SIGNOFF_NOT_ALLOWED = "SIGNOFF_NOT_ALLOWED"
    SIGNOFF_WRONG_IDENTITY = "SIGNOFF_WRONG_IDENTITY"
    SIGNOFF_KEY_EXPIRED = "SIGNOFF_KEY_EXPIRED"
    SIGNOFF_KEY_REVOKED = "SIGNOFF_KEY_REVOKED"
    SIGNOFFS_MISSING = "SIGNOFFS_MISSING"
    TIMESTAMP_MALFORMED = "TIMESTAMP_MALFORMED"
    TIMESTAMP_OTHER_BUNDLE = "TIMESTAMP_OTHER_BUNDLE"
    TIMESTAMP_TIME = "TIMESTAMP_TIME"
    TIMESTAMP_NOT_TRUSTED = "TIMESTAMP_NOT_TRUSTED"
    TIMESTAMP_MISSING = "TIMESTAMP_MISSING"
    COMMIT_MISMATCH = "COMMIT_MISMATCH"
    CHECKS_MISMATCH = "CHECKS_MISMATCH"
    NOT_CLEAN = "NOT_CLEAN"
    TOO_OLD = "TOO_OLD"
    SEALED_IN_FUTURE = "SEALED_IN_FUTURE"
    CHAIN_MISMATCH = "CHAIN_MISMATCH"


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """One violation of a rule in one place."""

    path: str
    """The path relative to the bundle; ``.`` for the bundle itself."""
    code: Code
    message: str

    def __str__(self) -> str:
        """Return the finding as one line, with any characters in the path."""
        return printable(f"{self.code} {self.path}: {self.message}")


def printable(text: str) -> str:
    """Return untrusted text in a form that starts no new line and controls no terminal.

    Control characters, direction characters and bytes that are not text are escaped.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )
