"""The gap matrix: every criterion with its status, where its evidence lies, and what is missing.

Owns the rows. Leaves their spelling to `gateproof_evidence.reports.exports.gap_csv` and
`gateproof_evidence.reports.exports.gap_markdown`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from gateproof_evidence.format.layout import RUN, in_bundle
from gateproof_evidence.model import Disposition, Falsification, Outcome, Run, Verdict
from gateproof_evidence.reports.gate_summary import WORDS, obstacles

NOBODY = "(run)"
"""Stands where a gap belongs to no criterion."""


@dataclass(frozen=True, kw_only=True)
class GapRow:
    """One criterion, or one obstacle that belongs to none."""

    criterion: str
    component: str
    """The gate."""
    phase: str
    severity: str
    claim: str
    status: str
    evidence: str
    """Path in the bundle: the one capture, the folder of all, or what says why there is none."""
    gap: str
    """What keeps the claim from being shown; empty where nothing does."""


def gap_matrix(run: Run) -> tuple[GapRow, ...]:
    """Return a row for each criterion, in the catalogue's order, then one for each other gap."""
    return (*(_row(verdict) for verdict in run.criteria), *_other_rows(run))


def gap_of(verdict: Verdict) -> str:
    """Return what keeps a claim from being shown, on one line; empty where nothing does."""
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
    said = WORDS[verdict.outcome]
    if verdict.outcome is Outcome.PASS:
        return f"{said}, {verdict.falsification.value}"
    if verdict.disposition is Disposition.NONE:
        return said
    return f"{said}, {verdict.disposition.value.replace('_', ' ')}"


def evidence_of(verdict: Verdict) -> str:
    """Return where the evidence of a criterion lies, as a path in the bundle."""
    if not verdict.captures:
        return RUN
    return in_bundle(posixpath.commonpath(verdict.captures))


def one_line(text: str) -> str:
    """Return a text with every run of white space as one blank."""
    return " ".join(text.split())


def _unproven(verdict: Verdict) -> str:
    if verdict.falsification is Falsification.PROVEN:
        return ""
    if not verdict.proofs:
        return f"{verdict.falsification.value}: its check names no falsifier"
    short = [p for p in verdict.proofs if p.result is not Falsification.PROVEN]
    said = "; ".join(f"{proof.falsifier}: {proof.message}" for proof in short)
    return one_line(f"{verdict.falsification.value}: {said}")


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
    told = {verdict.id for verdict in run.criteria}
    for reason in obstacles(run):
        if reason.partition(" ")[0] not in told:
            yield GapRow(
                criterion=NOBODY,
                component=NOBODY,
                phase="",
                severity="",
                claim="",
                status=run.result.value,
                evidence=RUN,
                gap=one_line(reason),
            )
