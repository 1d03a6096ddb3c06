"""Whom to trust is said from outside: a bundle that names its own signer names nobody.

Owns the rule. Leaves reading the file to whoever calls.

Source: design, "Verification": keys only from outside.
"""

from __future__ import annotations

from pathlib import Path

from gateproof_evidence.errors import BadInputError


def refuse_inside(path: Path, bundle: Path, what: str) -> None:
    """Refuse a file of the bundle, links followed; a copy of one elsewhere cannot be told.

    Args:
        path: a key, certificates, a list of signers.
        bundle: what the file is to vouch for.
        what: what it was named as.

    Raises:
        BadInputError: it lies in the bundle.

    """
    if path.resolve().is_relative_to(bundle.resolve()):
        raise BadInputError(
            f"{path}: {what}: got a file inside the bundle, expected one from outside; a bundle "
            "cannot say whom to trust"
        )
