"""The journal in a staging folder, read once before the folder is sealed.

Owns reading it together with its digest, and removing the captures of lost records. With the digest
`gateproof_evidence.sealing.seal` makes sure that the journal in the bundle is the one from which
the run was derived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gateproof_evidence.format.journal import iter_journal
from gateproof_evidence.format.layout import CAPTURES, JOURNAL, in_bundle
from gateproof_evidence.model import Digest, Observation, Record


@dataclass(frozen=True, kw_only=True)
class StagedJournal:
    """The merged journal of a run, as it is on disk."""

    records: tuple[Record, ...]
    digest: Digest
    """SHA-256 of the file."""


def read_staged_journal(staging: Path, *, data: bool = True) -> StagedJournal:
    """Read the journal of a staging folder.

    Args:
        staging: the folder.
        data: whether observations keep their data, which needs the most memory and which no
            verdict and no report depends on.

    Raises:
        BadInputError: a line is not a record, or a writer's sequence has a gap.

    """
    path = staging / JOURNAL
    with path.open("rb") as file:  # first: a later change then has another digest
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    records = (one if data else _without_data(one) for one in iter_journal([path]))
    return StagedJournal(records=tuple(records), digest=f"sha256:{digest}")


def _without_data(record: Record) -> Record:
    return record.model_copy(update={"data": {}}) if isinstance(record, Observation) else record


def remove_unrecorded(staging: Path, records: Iterable[Record]) -> None:
    """Remove the captures that no record names: nothing could verify them.

    A record is lost when its process is killed before it was written, or with a damaged journal.
    """
    recorded = {in_bundle(one.capture) for one in records if isinstance(one, Observation)}
    for path in (staging / CAPTURES).rglob("*"):
        if path.is_file() and path.relative_to(staging).as_posix() not in recorded:
            path.unlink()
