"""The redaction ledger: the number of matches of each rule in each file of a bundle.

Owns ``redactions.json``. Leaves the rules to `gateproof_evidence.redaction.redactor`.

Source: design, "Redaction".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gateproof_evidence.format.canonical import canonical_json
from gateproof_evidence.model import Observation, Record
from gateproof_evidence.redaction.redactor import LedgerEntry


def counted(counts_by_place: Iterable[tuple[str, str, int]]) -> tuple[LedgerEntry, ...]:
    """Return entries from rule, place and count, with the sums over several writers."""
    counts: Counter[tuple[str, str]] = Counter()
    for rule, place, count in counts_by_place:
        counts[rule, place] += count
    return tuple(
        LedgerEntry(rule=rule, place=place, count=count)
        for (rule, place), count in sorted(counts.items())
    )


def observed(records: Iterable[Record]) -> tuple[LedgerEntry, ...]:
    """Return the redactions of observations, by capture."""
    return counted(
        (redaction.rule, record.capture, redaction.count)
        for record in records
        if isinstance(record, Observation)
        for redaction in record.redactions
    )


def format_ledger(entries: Iterable[LedgerEntry]) -> bytes:
    """Return a ledger as canonical JSON, sorted by place and rule, with the sum of each rule."""
    listed = sorted(entries, key=lambda one: (one.place, one.rule))
    sums: Counter[str] = Counter()
    for one in listed:
        sums[one.rule] += one.count
    value = {"entries": [vars(one) for one in listed], "sums": dict(sums)}
    return canonical_json(value) + b"\n"
