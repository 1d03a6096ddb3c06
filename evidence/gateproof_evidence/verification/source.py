"""The digest of a folder of source files: recorded by a run, and computed again by a verifier.

Owns which files count and how their digest is made. Leaves their commit to the harness.

Source: docs/reference/verification.md, "What the verdicts depend on".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.catalogue import Catalogue, load_catalogues
from gateproof_evidence.model import Digest

COMPILED = "__pycache__"
"""Python's folder of compiled files: derived from the sources, and different on each machine."""
LEFT_OUT = (COMPILED, ".pytest_cache")
"""Folders that no digest covers; pytest writes its cache into checks that are its root folder."""


def source_files(path: Path) -> dict[str, Path]:
    """Return the files of a folder, or a single file, by their names relative to it.

    Links are followed: the content that Python runs counts, and not the link. Excluded are only
    the folders `LEFT_OUT`; ignored and untracked files count too.

    Args:
        path: a folder or a file. A single file has its own name.

    """
    if not path.is_dir():
        return {path.name: path}
    start = len(os.path.join(path, ""))  # noqa: PTH118 (with the separator at its end)
    found = {name[start:].replace(os.sep, "/"): Path(name) for name in _walk(path)}
    return dict(sorted(found.items()))


def digest_of_files(files: Mapping[str, Path]) -> Digest:
    """Return the digest over names and contents.

    It is the SHA-256 of the lines that ``sha256sum`` prints for the files, sorted by name, which
    anyone can compute without this package.

    Args:
        files: maps names to files. A name with a newline or a backslash is not escaped.

    Raises:
        OSError: a file cannot be read.

    """
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content}  {name}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def digest_of_path(path: Path) -> Digest:
    """Return the digest of a folder over its files, and of a single file over its bytes."""
    return digest_of_files(source_files(path)) if path.is_dir() else digest_of(path.read_bytes())


def read_expected_checks(text: str) -> Digest:
    """Return the digest that ``--expect-checks`` names, or that of the folder or file it names.

    Raises:
        BadInputError: it is neither a digest nor a folder with files nor a file.

    """
    if _is_digest(text):
        return text
    path = Path(text)
    if path.is_file() or (path.is_dir() and source_files(path)):
        return digest_of_path(path)
    got = "a folder without files" if path.is_dir() else "neither"
    raise BadInputError(
        f"--expect-checks {text}: got {got}, expected a digest (sha256:...) or the folder "
        "of the checks in your own checkout, such as gates"
    )


def read_expected_catalogue(texts: tuple[str, ...]) -> Catalogue | Digest:
    """Return the digest that ``--expect-catalogue`` names, or the catalogue of the files it names.

    Args:
        texts: one digest, or the catalogue files in the order of the run.

    Raises:
        BadInputError: a file is not a catalogue, or several values include a digest.

    """
    digests = [text for text in texts if _is_digest(text)]
    if digests and len(texts) > 1:
        raise BadInputError(
            f"--expect-catalogue: got {digests[0]} and {len(texts) - 1} more, expected one digest "
            "or only files; a digest is of the whole catalogue"
        )
    if digests:
        return digests[0]
    return load_catalogues([Path(text) for text in texts])


def _is_digest(text: str) -> bool:
    algorithm, _, value = text.partition(":")
    return (
        algorithm == "sha256"
        and len(value) == hashlib.sha256().digest_size * 2
        and set(value) <= set("0123456789abcdef")
    )


def _walk(folder: Path) -> Iterator[str]:
    """Yield the files under a folder; a folder that a link leads back to is entered once.

    Paths are texts here: a run asks for a thousand files three times.
    """
    entered: set[str] = set()
    for top, folders, names in os.walk(folder, followlinks=True):
        entered.add(os.path.realpath(top))
        folders[:] = [
            name
            for name in folders
            if name not in LEFT_OUT and os.path.realpath(os.path.join(top, name)) not in entered  # noqa: PTH118
        ]
        paths = (os.path.join(top, name) for name in names)  # noqa: PTH118 (faster)
        yield from (path for path in paths if os.path.isfile(path))  # noqa: PTH113 (faster)
