"""Whether the evidence supports a bundle's claims: verdicts, roll-up and proofs, derived again.

Owns comparing run.json and the attested result with those that
`gateproof_evidence.judging.judgement` derives from the journal, the catalogue and the waivers.
Leaves reading them to `gateproof_evidence.verification.consistency`. Not checked: whether the
journal's observations are true.

Source: design, "Verification"; docs/reference/verdicts.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.layout import (
    ATTESTATION,
    CATALOGUE,
    JOURNAL,
    RUN,
)
from gateproof_evidence.judging.judgement import Judged, differences, judge
from gateproof_evidence.judging.verdict import read_bindings
from gateproof_evidence.model import Record, RunEvent
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.verification.consistency import Contents


def derive_again(contents: Contents, predicate: Predicate | None) -> Iterator[Finding]:
    """Derive everything again and compare.

    1. The journal is complete: no writer's sequence has a gap, and the last record is the end of
       the run. It collected no criterion that the catalogue lacks.
    2. Every verdict and the roll-up of run.json are those that are derived.
    3. The attested result and exit status are the same.

    If the journal, the catalogue or the waivers cannot be read, there is a finding already, and the
    steps that need them are skipped.
    """
    if contents.records is None:
        return
    # 1
    yield from _gaps(contents.records)
    # 2, 3
    judged = None
    try:
        if contents.catalogue is not None and contents.waivers is not None:
            yield from _collected(contents.records, contents.catalogue)
            judged = judge(contents.catalogue.criteria, contents.records, contents.waivers)
    except EvidenceError as error:
        yield Finding(code=Code.JOURNAL_INCOMPLETE, path=JOURNAL, message=str(error))
    if judged is not None:
        yield from _run(contents, judged)
        yield from _statement(predicate, judged)


def _gaps(records: Sequence[Record]) -> Iterator[Finding]:
    expected: dict[str, int] = {}
    for record in records:
        wanted = expected.get(record.writer, 0)
        if record.seq != wanted:
            message = (
                f"sequence of {record.writer}: got {record.seq}, expected {wanted}; a record is "
                "missing, was inserted, or was moved"
            )
            yield Finding(code=Code.JOURNAL_INCOMPLETE, path=JOURNAL, message=message)
        expected[record.writer] = record.seq + 1
    last = records[-1] if records else None
    if not isinstance(last, RunEvent) or last.event != "ended":
        message = (
            f"got {last.kind if last else 'no record'} as the last, expected the end of the run"
        )
        yield Finding(code=Code.JOURNAL_INCOMPLETE, path=JOURNAL, message=message)
    elif any(record.at > last.at for record in records):
        message = f"got a record later than the end of the run, {last.at}"
        yield Finding(code=Code.JOURNAL_INCOMPLETE, path=JOURNAL, message=message)


def _collected(records: Sequence[Record], catalogue: Catalogue) -> Iterator[Finding]:
    for name in sorted(read_bindings(records).keys() - set(catalogue.ids)):
        message = f"got no {name}, which the journal lists as collected"
        yield Finding(code=Code.CATALOGUE_MISMATCH, path=CATALOGUE, message=message)


def _run(contents: Contents, judged: Judged) -> Iterator[Finding]:
    if contents.run is None:
        return
    for field, both in differences(contents.run, judged):
        verdict = field.startswith("criteria")
        code = Code.VERDICT_MISMATCH if verdict else Code.ROLLUP_MISMATCH
        yield Finding(code=code, path=RUN, message=f"{field}: {both} as derived from the journal")


def _statement(predicate: Predicate | None, judged: Judged) -> Iterator[Finding]:
    for field in ("result", "exit_status", "ended") if predicate is not None else ():
        got, expected = getattr(predicate, field), getattr(judged, field)
        if got != expected:
            message = f"{field}: got {got}, expected {expected} as derived from the journal"
            yield Finding(code=Code.ROLLUP_MISMATCH, path=ATTESTATION, message=message)
