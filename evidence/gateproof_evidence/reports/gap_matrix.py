"""The gap matrix: every criterion with its status, the place of its evidence, and its gap.

Owns the rows. Leaves their output format to `gateproof_evidence.reports.exports.gap_csv` and
`gateproof_evidence.reports.exports.gap_markdown`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateproof_evidence.format.layout import RUN, in_bundle
from gateproof_evidence.model import Disposition, Falsification, Outcome, Run, Verdict
from gateproof_evidence.reports.gate_summary import WORDS, obstacles

NO_CRITERION = "(run)"
"""The value of these cells in a row that belongs to no criterion."""


@dataclass(frozen=True, kw_only=True)
class GapRow:
    """One criterion, or one reason for the result that belongs to no criterion."""

    criterion: str
    component: str
    """The gate."""
    phase: str
    severity: str
    claim: str
    status: str
    evidence: str
    """Path in the bundle: the one capture, the folder of all, or the run where there is none."""
    gap: str
    """The reason why the claim is not shown; empty where it is shown."""


def gap_matrix(run: Run) -> tuple[GapRow, ...]:
    """Return a row for each criterion, in the catalogue's order, then one for each other gap."""
    return (*(_row(verdict) for verdict in run.criteria), *_other_rows(run))


def gap_of(verdict: Verdict) -> str:
    """Return the reason why a claim is not shown, on one line; empty where it is shown."""
    if verdict.outcome is Outcome.PASS:
        return _unproven(verdict)
    cause = f"{verdict.cause.value}: " if verdict.cause else ""
    message = f"{cause}{verdict.message}"
    if verdict.waiver is None or verdict.disposition is Disposition.NONE:
        return one_line(message)
    waiver = verdict.waiver
    lapsed = "" if verdict.disposition is Disposition.WAIVED else ", which has passed"
    accepted = f"accepted by {waiver.owner} until {waiver.expires}{lapsed}: {waiver.reason}"
    return one_line(f"{message} [{accepted}]")


def status_of(verdict: Verdict) -> str:
    """Return outcome, proof and disposition in words."""
    status = WORDS[verdict.outcome]
    if verdict.outcome is Outcome.PASS:
        return f"{status}, {verdict.falsification.value}"
    if verdict.disposition is Disposition.NONE:
        return status
    return f"{status}, {verdict.disposition.value.replace('_', ' ')}"


def evidence_of(verdict: Verdict) -> str:
    """Return where the evidence of a criterion lies, as a path in the bundle."""
    if not verdict.captures:
        return RUN
    return in_bundle(verdict.captures[0].rpartition(":")[0])


def one_line(text: str) -> str:
    """Return a text with every run of white space as one space."""
    return " ".join(text.split())


def _unproven(verdict: Verdict) -> str:
    if verdict.falsification is Falsification.PROVEN:
        return ""
    if not verdict.proofs:
        return f"{verdict.falsification.value}: its check names no falsifier"
    short = [p for p in verdict.proofs if p.result is not Falsification.PROVEN]
    reasons = "; ".join(f"{proof.falsifier}: {proof.message}" for proof in short)
    return one_line(f"{verdict.falsification.value}: {reasons}")


def _row(verdict: Verdict) -> GapRow:
    return GapRow(
        criterion=verdict.id,
        component=verdict.gate,
        phase=verdict.phase,
        severity=verdict.severity.value,
        claim=one_line(verdict.statement),
        status=status_of(verdict),
        evidence=evidence_of(verdict),
        gap=gap_of(verdict),
    )


def _other_rows(run: Run) -> Iterator[GapRow]:
    criteria = {verdict.id for verdict in run.criteria}
    for reason in obstacles(run):
        if reason.partition(" ")[0] not in criteria:
            yield GapRow(
                criterion=NO_CRITERION,
                component=NO_CRITERION,
                phase="",
                severity="",
                claim="",
                status=run.result.value,
                evidence=RUN,
                gap=one_line(reason),
            )
