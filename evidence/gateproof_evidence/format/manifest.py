"""BagIt manifests: one ``<sha256>  <path>`` a line, in the format of sha256sum.

Owns the format, strictly: two lines for one path, an unsafe path or another form is refused. Leaves
the choice of files for a manifest to `gateproof_evidence.sealing.seal` and
`gateproof_evidence.verification.bundle`.

Source: RFC 8493 section 2.1.3; paths that would need escaping are not allowed in a bundle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.layout import (
    PAYLOAD,
)
from gateproof_evidence.format.tree import File, name_problem
from gateproof_evidence.model import Digest

BAGIT_CONTENT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class ManifestError(EvidenceError):
    """A manifest is not exactly one list of files."""


def format_manifest(files: Iterable[File]) -> bytes:
    """Return the lines of some files, sorted by path."""
    lines = sorted((file.path, file.digest.removeprefix("sha256:")) for file in files)
    return "".join(f"{digest}  {path}\n" for path, digest in lines).encode("utf-8")


def parse_manifest(content: bytes) -> Mapping[str, Digest]:
    """Return the content of a manifest as path to digest.

    Raises:
        ManifestError: it is not UTF-8, has a line of another form, an unsafe path, or a path twice.

    """
    found: dict[str, Digest] = {}
    for number, line in enumerate(_lines(content), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ManifestError(f"line {number}: got {line!r}, expected '<sha256>  <path>'")
        digest, path = match.groups()
        problem = name_problem(path)
        if problem:
            raise ManifestError(f"line {number}: path {path!r}: {problem}")
        if path in found:
            raise ManifestError(f"line {number}: got {path} twice, expected each path once")
        found[path] = f"sha256:{digest}"
    return found


def payload_oxum(files: Iterable[File]) -> str:
    """Return bytes and count of the payload in the form of bag-info.txt (RFC 8493 2.2.2)."""
    sizes = [file.size for file in files if file.path.startswith(PAYLOAD)]
    return f"{sum(sizes)}.{len(sizes)}"


def _lines(content: bytes) -> list[str]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError("got bytes that are not UTF-8, expected text") from error
    if not text.endswith("\n"):
        raise ManifestError("got a last line without a line end, expected a complete file")
    return text[:-1].split("\n")
