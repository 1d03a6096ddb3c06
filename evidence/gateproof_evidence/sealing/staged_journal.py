"""The journal in a staging folder, read once before the folder is sealed.

Owns reading it together with its digest, with which `gateproof_evidence.sealing.seal` makes sure
that the journal in the bundle is the one from which the run was derived.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gateproof_evidence.format.layout import JOURNAL
from gateproof_evidence.format.recording.journal import iter_journal
from gateproof_evidence.model import Compaction, Digest, Record


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
        data: whether records keep what no verdict and no report depends on, and what needs the
            most memory: see `gateproof_evidence.model.Compaction`.

    Raises:
        BadInputError: a line is not a record, or a writer's sequence has a gap.

    """
    path = staging / JOURNAL
    with path.open("rb") as file:  # first: a later change then has another digest
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    records = iter_journal([path]) if data else map(Compaction().compact, iter_journal([path]))
    return StagedJournal(records=tuple(records), digest=f"sha256:{digest}")
