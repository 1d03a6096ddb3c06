"""Trust anchors come from outside the bundle: it cannot name its own trusted signer.

Owns the rule. Leaves reading the file to the caller.

Source: design, "Verification": keys only from outside.
"""

from __future__ import annotations

import contextlib
import os
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
    inside = (bundle, *(next_to(bundle, folder) for folder in (SIGNOFFS, TIMESTAMPS)))
    if any(is_inside(path, one) for one in inside):
        raise BadInputError(
            f"{path}: {what}: got a file inside the bundle, expected one from outside; a bundle "
            "cannot name its own trusted signers"
        )


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder or lies in it, however the two are spelt.

    Names decide first. Then the folders themselves are compared, because one folder has several
    names where the file system ignores case or Unicode form.
    """
    real = path.resolve()
    if real.is_relative_to(folder.resolve()):
        return True
    with contextlib.suppress(OSError):
        wanted = folder.stat()
        return bool(wanted.st_ino) and any(_is_at(one, wanted) for one in (real, *real.parents))
    return False


def _is_at(path: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), wanted)
    except OSError:
        return False
