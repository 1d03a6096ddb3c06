"""Derives the run of a staging folder and seals the folder into a bundle, or leaves no bundle.

Owns the order of sealing, and refuses everything that could not be verified later or that contains
a secret that redaction should have removed. The caller redacts and merges the journals.

Source: design, "The bundle"; docs/reference/bundle.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gateproof_evidence.errors import EvidenceError, NotWritableError, not_writable
from gateproof_evidence.format.attestation import AttestedKey, Predicate, attested, format_statement
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.envelope import Envelope, pae
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
from gateproof_evidence.format.recording.journal import Clock
from gateproof_evidence.format.tree import File, read_tree
from gateproof_evidence.format.waiver import format_waivers
from gateproof_evidence.judging.judgement import Context, derive_run
from gateproof_evidence.judging.verdict import read_bindings
from gateproof_evidence.model import Record, Run, Waiver
from gateproof_evidence.redaction.canary import Canary, search
from gateproof_evidence.reports import html
from gateproof_evidence.reports.exports import registry as exports
from gateproof_evidence.reports.quotation import Captures
from gateproof_evidence.sealing.bag import bag_files
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.staged_journal import StagedJournal
from gateproof_evidence.verification.integrity.transcript import TranscriptReader


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A sealed run."""

    run: Run
    """The run that the bundle's run.json contains."""
    bundle: Path


def seal(
    staging: Path,
    destination: Path,
    *,
    journal: StagedJournal,
    catalogue: Catalogue,
    waivers: Sequence[Waiver],
    context: Context,
    key: RunKey,
    clock: Clock,
    canaries: Sequence[Canary] = (),
) -> Sealed:
    """Derive a run and seal it.

    1. Refuse a destination that exists. Derive the run, once, from the journal, the catalogue and
       the waivers; refuse a journal with criteria that the catalogue does not contain.
    2. Write run.json, the catalogue, the waivers, the report and the exports into ``data/``.
    3. Refuse what could not be verified: links, special files, empty folders, unsafe names,
       transcripts that differ from what the journal has, a journal that changed since it was read.
    4. Write the payload manifest, then the tag files, then the tag manifest.
    5. Refuse a canary in any file: the recorded files, those written in 2, and the names in 4.
    6. Sign the attestation over both manifests and every file.
    7. Flush the journal, run.json, the manifests and the attestation to the disk, and rename the
       folder to its destination.

    Args:
        staging: a folder on the destination's file system that holds ``data/`` with journal.jsonl,
            transcripts and tests, all redacted.
        destination: the bundle's folder; its parent must exist.
        journal: the journal of the staging folder.
        catalogue: the criteria of the run.
        waivers: those that were in force.
        context: the fields of the run that its journal does not contain.
        key: signs the bundle; the signature of an ephemeral key shows integrity only.
        clock: returns the time of sealing.
        canaries: those that were passed through the captures of the run.

    Raises:
        NotWritableError: the destination exists, or a file cannot be written.
        CanaryError: a file contains a canary, raw or encoded; the destination then does not exist.
        EvidenceError: the folder or the journal breaks a rule; the destination then does not exist.

    """
    try:
        return _seal(
            staging, destination, journal, catalogue, waivers, context, key, clock, canaries
        )
    except OSError as error:
        raise not_writable(Path(error.filename or destination), error, what="bundle") from error


def _seal(
    staging: Path,
    destination: Path,
    journal: StagedJournal,
    catalogue: Catalogue,
    waivers: Sequence[Waiver],
    context: Context,
    key: RunKey,
    clock: Clock,
    canaries: Sequence[Canary],
) -> Sealed:
    # 1
    _refuse_taken(destination)
    _refuse_other_catalogue(journal.records, catalogue)
    run = derive_run(catalogue, journal.records, waivers, context)
    # 2
    sealed = max(clock(), run.ended)  # the clock can have been set back in between
    _write_all(staging, {WAIVERS: format_waivers(waivers)})
    signer = html.Signer(keyid=key.keyid, ephemeral=key.is_ephemeral, sealed=sealed)
    _write_reports(staging, run, catalogue, journal.records, signer)
    # 3
    payload = _payload(staging, journal)
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
    return Sealed(run=run, bundle=destination)


def _refuse_taken(destination: Path) -> None:
    if os.path.lexists(destination):
        raise NotWritableError(
            f"{destination}: bundle: got a path that exists, expected a free name; "
            "bundles are never overwritten"
        )


def _refuse_other_catalogue(records: Sequence[Record], catalogue: Catalogue) -> None:
    """Refuse a journal that collected criteria which would get no verdict."""
    left_out = sorted(read_bindings(records).keys() - set(catalogue.ids))
    if left_out:
        raise EvidenceError(
            f"journal: collected criteria: got {', '.join(left_out)}, expected criteria of the "
            "catalogue only; this is a defect of the harness"
        )


def _write_reports(
    staging: Path,
    run: Run,
    catalogue: Catalogue,
    records: tuple[Record, ...],
    signer: html.Signer,
) -> None:
    captures = Captures(staging / PAYLOAD)
    (staging / EXPORT_FOLDER).mkdir()
    # One after the other: with thousands of criteria each takes megabytes.
    page = html.render(run, records=records, captures=captures, signer=signer)
    _write_all(staging, {REPORT: page})
    del page
    _write_all(staging, {RUN: run.content})
    _write_all(staging, {CATALOGUE: catalogue.content})
    for path, content in exports.render_each(run):
        _write_all(staging, {path: content})


def _payload(staging: Path, journal: StagedJournal) -> Mapping[str, File]:
    transcripts = TranscriptReader(lambda: journal.records)
    files = {file.path: file for file in _files(staging, transcripts)}
    for path in files:
        if not path.startswith(PAYLOAD):
            raise EvidenceError(f"{path}: bundle: got a file outside data/, expected none yet")
    if files[JOURNAL].digest != journal.digest:
        raise EvidenceError(
            f"{JOURNAL}: bundle: got {files[JOURNAL].digest}, expected {journal.digest}: the run "
            "was derived from that journal; this is a defect of the harness"
        )
    for finding in transcripts.findings():
        raise EvidenceError(f"{finding.path}: bundle: {finding.message}")
    return files


def _files(staging: Path, transcripts: TranscriptReader) -> tuple[File, ...]:
    tree = read_tree(staging, keep=lambda _: False, last=transcripts.last)
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
        bound=run.bindings.bound,
        criteria=catalogue.ids,
        files=attested(files),
    )


def _sign(predicate: Predicate, key: RunKey) -> bytes:
    payload = format_statement(predicate)
    signature = key.sign(pae(payload))
    return Envelope(payload=payload, keyid=key.keyid, signature=signature).to_bytes()


def _write_all(staging: Path, contents: Mapping[str, bytes]) -> list[File]:
    """Write new files, and refuse a name that is taken: only sealing writes these names."""
    for path, content in contents.items():
        try:
            with (staging / path).open("xb") as file:
                file.write(content)
        except FileExistsError as error:
            raise EvidenceError(
                f"{path}: bundle: got a file of that name, expected sealing to write it"
            ) from error
        except OSError as error:
            raise not_writable(staging / path, error, what="bundle", needed=len(content)) from error
    return [
        File(path=path, size=len(content), digest=digest_of(content), content=None)
        for path, content in contents.items()
    ]


def _settle(staging: Path, tags: list[File]) -> None:
    """Flush the files that attest to the others to the disk.

    Transcripts are not flushed: flushing thousands of them takes longer than sealing, and
    verification finds by its digest one that was damaged in a power cut.
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
