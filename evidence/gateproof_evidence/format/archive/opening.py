"""Which bundle a path names: a folder, a ZIP archive, or one of them one folder down.

An artifact of CI is often a folder around the bundle, or around its archive.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.archive import ENDING, Archive
from gateproof_evidence.format.archive.folder import Folder
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.layout import LATEST, RUN, SIGNS
from gateproof_evidence.format.tree import LIMITS, Limits, kind_of_path

_FEW = 5
"""The most bundles that a message names."""
_HEAD = 200
"""The bytes of run.json that have its version."""
_VERSION_1 = b'"https://gateproof.dev/schema/run/v1"'
_MAGIC = (b"PK\3\4", b"PK\5\6")


def open_source(bundle: Path | Source, limits: Limits = LIMITS) -> Source:
    """Return the bundle that a path names.

    1. A folder with one of the files that identify a bundle, or a ZIP archive, is the bundle.
    2. In any other folder exactly one of its own entries must be: a folder with such a file, or a
       file whose name ends in ``.zip``. Links are left out.
    3. The bundle is of the present version.

    Args:
        bundle: the path, which may be a link; a source that is open already is returned as it is.
        limits: the most entries of an archive.

    Raises:
        BadInputError: there is no bundle or more than one, an archive cannot be read, or the
            bundle is of another version.

    """
    if isinstance(bundle, Source):
        return bundle
    # 1, 2
    source = _choose(bundle, limits)
    # 3
    _refuse_version_1(source)
    return source


def _choose(bundle: Path, limits: Limits) -> Source:
    if is_archive(bundle):
        return Archive(bundle, limits)
    if not bundle.is_dir():
        raise no_bundle(bundle, kind_of_path(bundle))
    if _is_bundle(bundle):
        return Folder(bundle)
    found = sorted(_candidates(bundle))
    if not found:
        raise no_bundle(bundle, f"a folder without {', '.join(SIGNS)}")
    if len(found) > 1:
        more = f" and {len(found) - _FEW} more" if len(found) > _FEW else ""
        named = ", ".join(path.name for path in found[:_FEW])
        raise BadInputError(
            f"{bundle}: bundle: got a folder of {len(found)}: {named}{more}, expected one; name "
            f"{_likely(bundle)} or another one of them"
        )
    return Archive(found[0], limits) if found[0].is_file() else Folder(found[0])


def _refuse_version_1(source: Source) -> None:
    """Refuse a bundle of version 1: the gateproof that made it has the rules to verify it."""
    try:
        head = source.read(RUN, _HEAD)
    except OSError:
        return  # verification reports that the file is missing
    if _VERSION_1 in head:
        raise BadInputError(
            f"{source.path}: bundle: got version 1, expected version 2; gateproof 0.2.0, which "
            "made it, verifies and shows it: pip install gateproof-evidence==0.2.0"
        )


def is_archive(path: Path) -> bool:
    """Return whether a path is a regular file that begins as a ZIP archive does, or is named so."""
    if not path.is_file():
        return False
    if path.name.endswith(ENDING):
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) in _MAGIC
    except OSError:
        return False


def no_bundle(bundle: Path, got: str) -> BadInputError:
    """Return the error for a path that is no bundle; it names one that is likely."""
    likely = _likely(bundle) if (bundle / LATEST).is_dir() else Path("reports") / LATEST
    return BadInputError(
        f"{bundle}: bundle: got {got}, expected the folder or the ZIP archive of one sealed run; "
        f"name {likely} or another one that a run sealed"
    )


def _likely(folder: Path) -> Path:
    """Return the last bundle of a folder of bundles, or the first of them by name."""
    latest = folder / LATEST
    return latest if latest.is_dir() else min(_candidates(folder))


def _is_bundle(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in SIGNS)


def _candidates(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_symlink():
            continue
        if (path.is_dir() and _is_bundle(path)) or (path.is_file() and path.name.endswith(ENDING)):
            yield path
