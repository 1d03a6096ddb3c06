"""Judges records that could not be read: a lost record is a defect, and its check is no pass.

Pure, like `gateproof_evidence.judging.verdict`. `gateproof_evidence.format.recording.journal` puts
the records of losses.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.model import Loss, Record, RunEvent

LOST = "a part of its records is lost"


def read_losses(records: Iterable[Record]) -> tuple[tuple[RunEvent, Loss], ...]:
    """Return the records of losses with their data.

    Raises:
        EvidenceError: the data of one is not valid.

    """
    try:
        return tuple(
            (record, Loss.model_validate(record.data, strict=False))
            for record in records
            if isinstance(record, RunEvent) and record.event == "lost"
        )
    except ValidationError as error:
        raise EvidenceError("journal: a lost record: got other data than file and line") from error


def affected_items(records: Iterable[Record]) -> frozenset[str]:
    """Return the items to which a lost record may belong."""
    return frozenset(item for _, loss in read_losses(records) for item in loss.items)


def judge_losses(records: Iterable[Record]) -> tuple[str, ...]:
    """Return a defect for each place in which records are lost."""
    found: dict[Loss, list[int]] = {}
    for record, loss in read_losses(records):
        found.setdefault(loss, []).append(record.seq)
    return tuple(_defect(loss, numbers) for loss, numbers in found.items())


def _defect(loss: Loss, numbers: list[int]) -> str:
    wanted = f"record {numbers[0]}"
    if len(numbers) > 1:
        wanted = f"records {numbers[0]} to {numbers[-1]}"
    near = f"; lost in or next to {', '.join(loss.items)}" if loss.items else ""
    return (
        f"{loss.file}:{loss.line}: journal: got {loss.reason}, expected {wanted}{near}; "
        "run the gates again"
    )
