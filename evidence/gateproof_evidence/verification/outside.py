"""Trust anchors come from outside the bundle: it cannot name its own trusted signer.

Owns the rule. Leaves reading the file to the caller.

Source: design, "Verification": keys only from outside.
"""

from __future__ import annotations

from pathlib import Path

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.archive import next_to
from gateproof_evidence.format.layout import SIGNOFFS, TIMESTAMPS


def refuse_inside(path: Path, bundle: Path, what: str) -> None:
    """Refuse a file inside the bundle, also through links; a copy elsewhere cannot be detected.

    Args:
        path: a key, certificates, a list of signers.
        bundle: the bundle to verify with the file; additions next to an archive belong to it.
        what: the role of the file, for the message.

    Raises:
        BadInputError: the file is inside the bundle.

    """
    inside = (bundle.resolve(), *(next_to(bundle, folder) for folder in (SIGNOFFS, TIMESTAMPS)))
    if any(path.resolve().is_relative_to(one) for one in inside):
        raise BadInputError(
            f"{path}: {what}: got a file inside the bundle, expected one from outside; a bundle "
            "cannot name its own trusted signers"
        )
