"""Trust anchors come from outside the bundle: it cannot name its own trusted signer.

Owns the rule. Leaves reading the file to the caller.

Source: design, "Verification": keys only from outside.
"""

from __future__ import annotations

from pathlib import Path

from gateproof_evidence.errors import BadInputError


def refuse_inside(path: Path, bundle: Path, what: str) -> None:
    """Refuse a file inside the bundle, also through links; a copy elsewhere cannot be detected.

    Args:
        path: a key, certificates, a list of signers.
        bundle: the bundle to verify with the file.
        what: the role of the file, for the message.

    Raises:
        BadInputError: the file is inside the bundle.

    """
    if path.resolve().is_relative_to(bundle.resolve()):
        raise BadInputError(
            f"{path}: {what}: got a file inside the bundle, expected one from outside; a bundle "
            "cannot name its own trusted signers"
        )
