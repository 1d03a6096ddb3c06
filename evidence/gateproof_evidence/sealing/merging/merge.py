"""Merges the bundles of shards into one: the union of their journals and files, judged again.

Owns the order of a merge. Nothing of a shard is changed: the names of its writers are those of no
other shard, so the lines of its journal and its captures are taken over as they are. Verdicts,
reports and exports are made again, and no verdict is copied. Leaves the rules to
`gateproof_evidence.sealing.merging.refusal` and judging to `gateproof_evidence.judging`.

Source: docs/decisions/0034.
"""

from __future__ import annotations

import heapq
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateproof_evidence.errors import BadInputError, EvidenceError, NotWritableError, not_writable
from gateproof_evidence.format.archive.writer import archive_of, write_archive
from gateproof_evidence.format.catalogue import parse_catalogue
from gateproof_evidence.format.layout import (
    ATTESTATION,
    CATALOGUE,
    JOURNAL,
    PAYLOAD,
    REDACTIONS,
    WAIVERS,
    of_shard,
)
from gateproof_evidence.format.recording.journal import Clock
from gateproof_evidence.format.waiver import parse_waivers
from gateproof_evidence.judging.shard import merge_contexts, merge_endings
from gateproof_evidence.model import Merged, Run, RunEvent
from gateproof_evidence.redaction.ledger import counted, format_ledger
from gateproof_evidence.reports.renderer import renderer_digest
from gateproof_evidence.sealing.merging.part import Keys, Part, read_part
from gateproof_evidence.sealing.merging.refusal import refuse_others
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.sealing.staged_journal import read_staged_journal
from gateproof_evidence.verification.bundle import verify
from gateproof_evidence.verification.shard import SHARED, is_left_out, place_of

WHOLE_RUN = "run"
"""The writer of the record of the merged run's end."""

_DERIVED = (JOURNAL, "data/run.json", *SHARED)
"""The files of a shard that are united, judged again, or the same in all shards."""


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """A merged bundle."""

    bundle: Path
    archive: Path
    """The same bundle as one ZIP archive."""
    run: Run
    known: bool
    """Whether keys from outside verified the bundles of the shards."""


def merge(
    bundles: Sequence[Path], destination: Path, *, keys: Keys, key: RunKey, clock: Clock
) -> MergeResult:
    """Merge the bundles of a run's shards and seal the result.

    1. Verify each bundle by one of the keys, and refuse bundles that are not of one run.
    2. Unite the journals by time, and add the record of the whole run's end.
    3. Copy the files of the shards, each compared with its attested digest.
    4. Judge the united journal, render the reports, and seal.
    5. Verify the result before it gets its name.
    6. Write the result as a ZIP archive too.

    Args:
        bundles: at least one; a shard that has none is missing in the merged run.
        destination: the merged bundle; its parent must exist.
        keys: public keys of the shards' signers, from outside the bundles.
        key: signs the merged bundle.
        clock: returns the time of sealing.

    Raises:
        BadInputError: a bundle is not a shard of the same run; nothing is written.
        NotWritableError: the destination or its archive exists, or cannot be written; if only the
            archive cannot be written, the merged bundle is there.
        EvidenceError: the merged bundle would not verify; nothing is left of it.

    """
    _refuse_taken(destination)
    # 1
    parts = sorted((read_part(one, keys) for one in bundles), key=lambda one: one.shard.number)
    refuse_others(parts)
    staging = destination.parent / f".merging-{destination.name}-{os.getpid()}"
    sealed = destination.parent / f".merged-{destination.name}-{os.getpid()}"
    try:
        run = _merge(parts, staging, sealed, key=key, clock=clock)
        _refuse_taken(destination)
        sealed.rename(destination)
        archive = write_archive(destination, archive_of(destination))
    except OSError as error:
        raise not_writable(Path(error.filename or staging), error, what="merged bundle") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(sealed, ignore_errors=True)
    return MergeResult(bundle=destination, archive=archive, run=run, known=bool(keys))


def _merge(parts: Sequence[Part], staging: Path, sealed: Path, *, key: RunKey, clock: Clock) -> Run:
    merged = Merged(of=parts[0].shard.of, shards=tuple(one.record for one in parts))
    (staging / PAYLOAD).mkdir(parents=True)
    # 2
    _unite_journals(parts, merged, staging / JOURNAL)
    # 3
    for one in parts:
        _copy_files(one, staging)
    _unite_ledgers(parts, staging)
    # 4
    catalogue = parse_catalogue(parts[0].read(CATALOGUE))
    waivers = parse_waivers(parts[0].read(WAIVERS))
    made = seal(
        staging,
        sealed,
        journal=read_staged_journal(staging, data=False),
        catalogue=catalogue,
        waivers=waivers,
        context=merge_contexts(merged, renderer=renderer_digest()),
        key=key,
        clock=clock,
    )
    # 5
    for finding in verify(made.bundle, key=key.public_pem).findings:
        versions = merged.shards[0].bindings.versions
        raise EvidenceError(
            f"merged bundle: got {finding}, expected one that verifies; merge with the gateproof "
            f"that made the shards ({versions.get('gateproof', 'unknown version')})"
        )
    return made.run


def _refuse_taken(destination: Path) -> None:
    taken = next(filter(os.path.lexists, (destination, archive_of(destination))), None)
    if taken is not None:
        raise NotWritableError(
            f"{taken}: --out: got a path that exists, expected a free name; bundles are "
            "never overwritten: name another"
        )
    if not destination.parent.is_dir():
        raise BadInputError(
            f"{destination}: --out: got no folder {destination.parent}, expected an existing one; "
            "make it, or name another"
        )


def _unite_journals(parts: Sequence[Part], merged: Merged, path: Path) -> None:
    """Write the lines of all journals by time; those of one shard stay in their order."""
    ending = merge_endings({one.shard.number: one.ending for one in parts}, merged)
    last = RunEvent(
        writer=WHOLE_RUN,
        seq=0,
        at=max(one.record.ended for one in parts),
        event="ended",
        data=ending.model_dump(mode="json"),
    )
    lines = heapq.merge(*(one.lines() for one in parts), key=lambda line: (line.at, line.writer))
    with path.open("xb") as file:
        file.writelines(line.content for line in lines)
        file.write(f"{last.model_dump_json()}\n".encode())


def _copy_files(part: Part, staging: Path) -> None:
    """Copy the files of a shard that are neither made again nor the same in all shards."""
    number = part.shard.number
    for path in part.digests:
        if not is_left_out(path) and path not in _DERIVED:
            _write(staging / place_of(number, path), part.read(path))
    _write(staging / of_shard(number, ATTESTATION), part.attestation)


def _write(path: Path, content: bytes) -> None:
    """Write a file; two shards may have the same file, such as an earlier attestation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() != content:
        raise EvidenceError(f"{path.name}: merge: got two files of one path, expected one")
    path.write_bytes(content)


def _unite_ledgers(parts: Iterable[Part], staging: Path) -> None:
    """Write the redactions of all shards as one ledger."""
    found = [
        (entry["rule"], entry["place"], entry["count"])
        for one in parts
        if REDACTIONS in one.digests
        for entry in json.loads(one.read(REDACTIONS))["entries"]
    ]
    (staging / REDACTIONS).write_bytes(format_ledger(counted(found)))
