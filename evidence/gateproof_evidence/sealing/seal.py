"""Turns the folder of one run into a sealed bundle, or into nothing.

Owns the order of sealing, and the refusal of anything that could not be verified later or that
holds a secret that redaction was to take out. Leaves redaction and the merging of journals to
whoever filled the folder.

Source: design, "The bundle"; docs/reference/bundle.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from gateproof_evidence.errors import EvidenceError, NotWritableError
from gateproof_evidence.format.attestation import AttestedKey, Predicate, attested, format_statement
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.envelope import Envelope, pae
from gateproof_evidence.format.journal import Clock, read_journal
from gateproof_evidence.format.layout import (
    ATTESTATION,
    CATALOGUE,
    EXPORT_FOLDER,
    JOURNAL,
    PAYLOAD,
    PAYLOAD_MANIFEST,
    REPORT,
    RUN,
    TAG_MANIFEST,
    WAIVERS,
)
from gateproof_evidence.format.manifest import format_manifest
from gateproof_evidence.format.tree import File, read_tree
from gateproof_evidence.format.waiver import format_waivers
from gateproof_evidence.judging.judgement import differences, judge
from gateproof_evidence.model import Observation, Record, Run, Waiver
from gateproof_evidence.redaction.canary import Canary, search
from gateproof_evidence.reports import html
from gateproof_evidence.reports.exports import registry as exports
from gateproof_evidence.reports.quotation import Captures
from gateproof_evidence.sealing.bag import bag_files
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification import consistency


def seal(
    staging: Path,
    destination: Path,
    *,
    run: Run,
    catalogue: Catalogue,
    waivers: Sequence[Waiver],
    key: RunKey,
    clock: Clock,
    canaries: Sequence[Canary] = (),
) -> Path:
    """Seal a run.

    1. The destination is free; the run judges exactly the catalogue, as its journal says.
    2. Write run.json, the catalogue, the waivers, the report and the exports into ``data/``.
    3. Refuse what could not be verified: links, special files, empty folders, unsafe names,
       captures that are not those that were observed.
    4. Write the payload manifest, then the tag files, then the tag manifest.
    5. Refuse a canary in any file: what was recorded, what was written in 2, the names in 4.
    6. Sign the attestation over both manifests and every file.
    7. Bring what vouches for the rest to the disk, and rename the folder into place.

    Args:
        staging: a folder on the destination's file system that holds ``data/`` with journal.jsonl,
            captures, proofs and tests, all redacted.
        destination: the bundle's folder; its parent must exist.
        run: what the evidence comes to.
        catalogue: what was expected.
        waivers: those that were in force.
        key: signs; an ephemeral one shows integrity only.
        clock: gives the moment of sealing.
        canaries: made-up secrets that were let out during the run.

    Returns:
        The destination.

    Raises:
        NotWritableError: the destination exists, or the disk refuses.
        CanaryError: a file holds a canary, raw or decoded; the destination then does not exist.
        EvidenceError: the folder or the run breaks a rule; the destination then does not exist.

    """
    try:
        return _seal(staging, destination, run, catalogue, waivers, key, clock, canaries)
    except OSError as error:
        raise NotWritableError(
            f"{error.filename or destination}: bundle: got {error.strerror}, expected to write it; "
            "free the disk or name another folder with --evidence-out"
        ) from error


def _seal(
    staging: Path,
    destination: Path,
    run: Run,
    catalogue: Catalogue,
    waivers: Sequence[Waiver],
    key: RunKey,
    clock: Clock,
    canaries: Sequence[Canary],
) -> Path:
    # 1
    _refuse_taken(destination)
    _refuse_other_catalogue(run, catalogue)
    records = read_journal([staging / JOURNAL])
    _refuse_other_verdicts(run, catalogue, records, waivers)
    # 2
    sealed = max(clock(), run.ended)  # a clock that was set back in between
    _write_all(staging, {WAIVERS: format_waivers(waivers)})
    signer = html.Signer(keyid=key.keyid, ephemeral=key.is_ephemeral, sealed=sealed)
    _write_reports(staging, run, catalogue, records, signer)
    # 3
    payload = _payload(staging, records)
    # 4
    files = list(payload.values())
    own = bag_files(run, files, public_pem=key.public_pem, sealed=sealed)
    tags = _write_all(staging, {PAYLOAD_MANIFEST: format_manifest(files)})
    tags += _write_all(staging, own)
    tags += _write_all(staging, {TAG_MANIFEST: format_manifest(tags)})
    # 5
    search(sorted(path for path in staging.rglob("*") if path.is_file()), canaries)
    # 6
    predicate = _predicate(run, catalogue, key, sealed, files + tags)
    _write_all(staging, {ATTESTATION: _sign(predicate, key)})
    # 7
    _settle(staging, tags)
    _refuse_taken(destination)
    staging.rename(destination)
    _sync(destination.parent)
    return destination


def _refuse_taken(destination: Path) -> None:
    if os.path.lexists(destination):
        raise NotWritableError(
            f"{destination}: bundle: got something that is there already, expected a free name; "
            "bundles are never overwritten"
        )


def _refuse_other_catalogue(run: Run, catalogue: Catalogue) -> None:
    ids = tuple(verdict.id for verdict in run.criteria)
    if ids != catalogue.ids or run.catalogue_digest != catalogue.digest:
        missing = ", ".join(sorted(set(ids) ^ set(catalogue.ids))) or "the order or the digest"
        raise EvidenceError(
            f"run: criteria: got others than the catalogue's ({missing} differs), expected one "
            "verdict on each, in its order; this is a defect of the harness"
        )


def _refuse_other_verdicts(
    run: Run, catalogue: Catalogue, records: Sequence[Record], waivers: Sequence[Waiver]
) -> None:
    for field, both in differences(run, judge(catalogue.criteria, records, waivers)):
        raise EvidenceError(
            f"run: {field}: {both} as the journal says; this is a defect of the harness"
        )


def _write_reports(
    staging: Path,
    run: Run,
    catalogue: Catalogue,
    records: tuple[Record, ...],
    signer: html.Signer,
) -> None:
    captures = Captures(staging / PAYLOAD)
    report = html.render(run, records=records, captures=captures, signer=signer)
    run_json = run.model_dump_json(by_alias=True, indent=2) + "\n"
    (staging / EXPORT_FOLDER).mkdir()
    _write_all(
        staging,
        {
            RUN: run_json.encode("utf-8"),
            CATALOGUE: catalogue.content,
            REPORT: report,
            **exports.render_all(run),
        },
    )


def _payload(staging: Path, records: tuple[Record, ...]) -> Mapping[str, File]:
    files = {file.path: file for file in _files(staging)}
    for path in files:
        if not path.startswith(PAYLOAD):
            raise EvidenceError(f"{path}: bundle: got a file outside data/, expected none yet")
    for record in records:
        if isinstance(record, Observation):
            for finding in consistency.compare_capture(record, files):
                raise EvidenceError(f"{finding.path}: bundle: {finding.message}")
    return files


def _files(staging: Path) -> tuple[File, ...]:
    tree = read_tree(staging, keep=lambda _: False)
    for odd in tree.odd:
        raise EvidenceError(
            f"{odd.path}: bundle: got {odd.message}, expected regular files only; "
            "nothing was sealed"
        )
    return tree.files


def _predicate(
    run: Run, catalogue: Catalogue, key: RunKey, sealed: datetime, files: list[File]
) -> Predicate:
    return Predicate(
        result=run.result,
        exit_status=run.exit_status,
        commit=run.bindings.commit,
        dirty=run.bindings.dirty,
        nonce=run.bindings.nonce,
        previous=run.bindings.previous,
        started=run.started,
        ended=run.ended,
        sealed=sealed,
        key=AttestedKey(keyid=key.keyid, ephemeral=key.is_ephemeral),
        catalogue_digest=catalogue.digest,
        criteria=catalogue.ids,
        files=attested(files),
    )


def _sign(predicate: Predicate, key: RunKey) -> bytes:
    payload = format_statement(predicate)
    signature = key.sign(pae(payload))
    return Envelope(payload=payload, keyid=key.keyid, signature=signature).to_bytes()


def _write_all(staging: Path, contents: Mapping[str, bytes]) -> list[File]:
    """Write new files; one that is there already was not ours to write."""
    for path, content in contents.items():
        try:
            with (staging / path).open("xb") as file:
                file.write(content)
        except FileExistsError as error:
            raise EvidenceError(
                f"{path}: bundle: got a file of that name, expected sealing to write it"
            ) from error
    return [
        File(path=path, size=len(content), digest=digest_of(content), content=None)
        for path, content in contents.items()
    ]


def _settle(staging: Path, tags: list[File]) -> None:
    """Bring to the disk what vouches for the rest.

    Not every capture: 5,000 of them take longer than the run, and one that a power cut takes is
    found by its digest.
    """
    data = (
        JOURNAL,
        RUN,
        CATALOGUE,
        WAIVERS,
        REPORT,
    )
    for path in (*data, *(tag.path for tag in tags), ATTESTATION, PAYLOAD, "."):
        _sync(staging / path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
