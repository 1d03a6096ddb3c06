"""Whether a bundle has exactly the attested files: steps 1 and 5 to 7.

Owns the comparison of the files with the statement, both manifests and the bag's declarations.
Leaves reading to `gateproof_evidence.format.tree`, and the content of the files to
`gateproof_evidence.verification.consistency`.

Source: design, "Verification"; RFC 8493; docs/reference/verification.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.layout import (
    ATTESTATION,
    BAG_INFO,
    BAGIT,
    PAYLOAD,
    PAYLOAD_MANIFEST,
    TAG_MANIFEST,
)
from gateproof_evidence.format.manifest import (
    BAGIT_CONTENT,
    ManifestError,
    parse_manifest,
    payload_oxum,
)
from gateproof_evidence.format.tree import UNREAD, File, Oddity, Tree
from gateproof_evidence.model import Digest
from gateproof_evidence.model.finding import Code, Finding

_CODES: Mapping[Oddity, Code] = {
    "link": Code.LINK,
    "special": Code.SPECIAL_FILE,
    "empty-folder": Code.EMPTY_FOLDER,
    "name": Code.BAD_NAME,
    "lookalike": Code.LOOKALIKE,
    "unreadable": Code.UNREADABLE,
    "limit": Code.LIMIT_EXCEEDED,
}


def compare_tree(tree: Tree) -> Iterator[Finding]:
    """Yield a finding for all that is not a plain file with a plain name (step 1)."""
    for odd in tree.odd:
        yield Finding(code=_CODES[odd.kind], path=odd.path, message=odd.message)


def compare_attested(files: Mapping[str, File], predicate: Predicate | None) -> Iterator[Finding]:
    """Yield a finding for each missing, changed or unlisted file (step 5)."""
    if predicate is None:
        return
    listed = {file.path: file for file in predicate.files}
    for path, expected in listed.items():
        got = files.get(path)
        if got is None:
            yield Finding(code=Code.FILE_MISSING, path=path, message="attested, but missing")
            continue
        if got.size != expected.size:
            message = f"got {got.size} bytes, expected {expected.size}"
            yield Finding(code=Code.SIZE_MISMATCH, path=path, message=message)
        yield from _digest(got, expected.digest)
    for path in files.keys() - listed.keys() - {ATTESTATION}:
        yield Finding(code=Code.FILE_UNLISTED, path=path, message="present, but not attested")


def compare_manifests(files: Mapping[str, File]) -> Iterator[Finding]:
    """Yield a finding unless both manifests list exactly their files (step 6)."""
    tags = {path for path in files if not path.startswith(PAYLOAD)} - {TAG_MANIFEST, ATTESTATION}
    payload = {path for path in files if path.startswith(PAYLOAD)}
    yield from _manifest(files, PAYLOAD_MANIFEST, payload)
    yield from _manifest(files, TAG_MANIFEST, tags)


def _manifest(files: Mapping[str, File], name: str, expected: set[str]) -> Iterator[Finding]:
    file = files.get(name)
    if file is None:
        yield Finding(code=Code.FILE_MISSING, path=name, message="the manifest is missing")
        return
    if file.content is None:
        yield Finding(code=Code.MANIFEST_MALFORMED, path=name, message="too large to read")
        return
    try:
        listed = parse_manifest(file.content)
    except ManifestError as error:
        yield Finding(code=Code.MANIFEST_MALFORMED, path=name, message=str(error))
        return
    for path in listed.keys() - expected:
        code = Code.MANIFEST_MISMATCH if path in files else Code.FILE_MISSING
        yield Finding(code=code, path=path, message=f"{name} lists it")
    for path in expected - listed.keys():
        yield Finding(code=Code.FILE_UNLISTED, path=path, message=f"{name} does not list it")
    for path in listed.keys() & expected:
        yield from _digest(files[path], listed[path])


def _digest(got: File, expected: Digest) -> Iterator[Finding]:
    if got.digest not in (expected, UNREAD):
        message = f"got {got.digest}, expected {expected}"
        yield Finding(code=Code.DIGEST_MISMATCH, path=got.path, message=message)


def compare_bag(files: Mapping[str, File]) -> Iterator[Finding]:
    """Yield a finding unless the bag's declarations are right (step 7)."""
    bagit = files.get(BAGIT)
    if bagit is None or bagit.content != BAGIT_CONTENT:
        yield Finding(
            code=Code.BAG_MALFORMED, path=BAGIT, message="not the declaration of BagIt 1.0"
        )
    info = files.get(BAG_INFO)
    line = f"Payload-Oxum: {payload_oxum(files.values())}".encode("ascii")
    if info is None or line not in (info.content or b"").splitlines():
        message = f"got another payload, expected {line.decode('ascii')!r}"
        yield Finding(code=Code.BAG_MALFORMED, path=BAG_INFO, message=message)
