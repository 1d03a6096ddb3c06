"""Helpers for the tests of verification: reading findings, and sealing by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateproof_evidence.format.attestation import (
    AttestedKey,
    attested,
    format_statement,
    parse_statement,
)
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.envelope import Envelope, pae
from gateproof_evidence.format.manifest import format_manifest, payload_oxum
from gateproof_evidence.format.recording.transcript import END, entries_by_file, heading
from gateproof_evidence.format.tree import read_tree
from gateproof_evidence.model import Record
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.bundle import Verification

ATTESTATION = "attestation.dsse.json"
Change = Callable[[Path], None]


def codes(found: Verification) -> set[tuple[str, str]]:
    """Return code and path of every finding."""
    return {(finding.code.value, finding.path) for finding in found.findings}


def files_of(bundle: Path) -> list[str]:
    """Return every file of a bundle, relative to it."""
    return sorted(
        path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()
    )


def tagged(bundle: Path, changed: Path) -> None:
    """Update the digest of one changed file in the tag manifest."""
    path = bundle / "tagmanifest-sha256.txt"
    digest = hashlib.sha256(changed.read_bytes()).hexdigest()
    others = [line for line in path.read_text().splitlines() if not line.endswith(changed.name)]
    path.write_text("\n".join([*others, f"{digest}  {changed.name}", ""]))


def rewrite_manifests(bundle: Path) -> None:
    """Update both manifests and the payload's size to the files in the bundle."""
    files = read_tree(bundle, keep=lambda _: False).files
    payload = [file for file in files if file.path.startswith("data/")]
    info = bundle / "bag-info.txt"
    lines = [line for line in info.read_text().splitlines() if not line.startswith("Payload-Oxum")]
    info.write_text("\n".join([*lines, f"Payload-Oxum: {payload_oxum(payload)}", ""]))
    (bundle / "manifest-sha256.txt").write_bytes(format_manifest(payload))
    left_out = (ATTESTATION, "tagmanifest-sha256.txt")
    tags = [
        file
        for file in read_tree(bundle, keep=lambda _: False).files
        if not file.path.startswith("data/") and file.path not in left_out
    ]
    (bundle / "tagmanifest-sha256.txt").write_bytes(format_manifest(tags))


def reseal(
    bundle: Path,
    key: RunKey,
    *,
    after: Change = lambda _: None,
    claims: dict[str, Any] | None = None,
    spell: Callable[[bytes], bytes] = lambda payload: payload,
) -> None:
    """Seal a bundle again, with any key.

    Args:
        bundle: the folder.
        key: the signing key.
        after: changes the bundle after its manifests are updated, before it is signed.
        claims: fields to replace in the statement.
        spell: changes the statement's bytes before they are signed.

    """
    claimed = parse_statement(Envelope.from_bytes((bundle / ATTESTATION).read_bytes()).payload)
    (bundle / "public-key.pem").write_bytes(key.public_pem)
    rewrite_manifests(bundle)
    after(bundle)
    files = [f for f in read_tree(bundle, keep=lambda _: False).files if f.path != ATTESTATION]
    update = {
        "files": attested(files),
        "key": AttestedKey(keyid=key.keyid, ephemeral=key.is_ephemeral),
        **(claims or {}),
    }
    payload = spell(format_statement(claimed.model_copy(update=update)))
    signed = Envelope(payload=payload, keyid=key.keyid, signature=key.sign(pae(payload)))
    (bundle / ATTESTATION).write_bytes(signed.to_bytes())


def rewritten(
    data: Path, records: tuple[Record, ...], transcript: str, text: str
) -> tuple[Record, ...]:
    """Write another text into the last entry of a transcript; return the journal that has it."""
    seen = entries_by_file(records)[transcript][-1]
    content = text.encode()
    before = (data / transcript).read_bytes()[: seen.start]
    (data / transcript).write_bytes(before + heading(seen) + content + END)
    update = {"size": len(content), "digest": digest_of(content)}
    return tuple(one.model_copy(update=update) if one is seen else one for one in records)
