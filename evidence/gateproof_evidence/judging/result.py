"""The rules that turn verdicts into one result, one exit status and the reasons for it.

Pure, like `gateproof_evidence.judging.verdict`.

Source: spec, "Exit status".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateproof_evidence.model import (
    Cause,
    Disposition,
    Extent,
    Falsification,
    Outcome,
    Regression,
    Result,
    Verdict,
)

RELEASED, VIOLATION, INCOMPLETE, ENVIRONMENT, HARNESS = 0, 1, 100, 102, 103
"""The exit statuses of a run that pytest itself completed."""

_LEFT_OUT = (Outcome.NOTSELECTED, Outcome.NOTDESCRIBED)
"""The outcomes of criteria that the run, or the description of the system, left out."""

PYTEST_OWN = (2, 3, 4, 5)
"""Interrupted, internal error, bad input, nothing collected: they override all of ours, unless
pytest stopped by itself: then the verdicts decide."""


@dataclass(frozen=True, kw_only=True)
class RollUp:
    """The result of a run."""

    result: Result
    exit_status: int
    reasons: tuple[str, ...]


def roll_up(
    verdicts: Sequence[Verdict],
    *,
    pytest_status: int = 0,
    stopped: str = "",
    defects: Sequence[str] = (),
    problems: Sequence[str] = (),
    falsify: Extent = "all",
    regressions: Sequence[Regression] = (),
    whole: bool = True,
) -> RollUp:
    """Roll verdicts up to a result and an exit status; the worst one decides.

    Args:
        verdicts: one for every criterion of the catalogue.
        pytest_status: pytest's own exit status; 2 to 5 override everything.
        stopped: why pytest stopped by itself before the end, such as ``--maxfail``; empty if it did
            not. Its status then overrides nothing: what ran is judged, and the rest was not run.
        defects: harness defects that belong to no criterion.
        problems: problems of the environment that belong to no criterion.
        falsify: which proofs were requested; unless all were, the result is incomplete.
        regressions: the regressions from a baseline; those that are left out of the run have
            verdicts that give the reason.
        whole: whether these are the verdicts of a whole run. A gate or a phase of which no
            criterion applies holds nothing back; a run without a pass shows nothing.

    """
    away = dict.fromkeys((f"environment problem: {one}" for one in problems), ENVIRONMENT)
    lost = [f"baseline: {regression}" for regression in regressions if not regression.left_out]
    statuses = {reason: status for status, reason in _reasons(verdicts, defects, falsify=falsify)}
    if whole and verdicts and not any(map(_applies, verdicts)):
        statuses["no criterion applies, so nothing is shown"] = INCOMPLETE
    statuses |= away | dict.fromkeys(lost, INCOMPLETE)
    exit_status = _worst(statuses.values())
    if pytest_status in PYTEST_OWN and not stopped:
        exit_status = pytest_status
    if stopped and exit_status:
        statuses[f"pytest stopped before the end: {stopped}"] = INCOMPLETE
    return RollUp(
        result=_result(verdicts, exit_status, falsify=falsify, lost=bool(lost)),
        exit_status=exit_status,
        reasons=tuple(statuses),
    )


# --- the run ---------------------------------------------------------------------------------


def _reasons(
    verdicts: Sequence[Verdict], defects: Sequence[str], *, falsify: Extent
) -> Iterable[tuple[int, str]]:
    """Yield every reason against a release, with its exit status."""
    for defect in defects:
        yield HARNESS, f"harness defect: {defect}"
    for verdict in verdicts:
        yield from _own_reasons(verdict, falsify=falsify)
    if falsify == "none":
        yield INCOMPLETE, "it is not shown that any check can fail: no falsification was requested"
    if falsify == "some":
        yield (
            INCOMPLETE,
            "it is not shown that every check can fail: only some proofs were requested",
        )
    passed = {verdict.gate for verdict in verdicts if verdict.outcome is Outcome.PASS}
    for gate in dict.fromkeys(verdict.gate for verdict in filter(_applies, verdicts)):
        if gate not in passed:
            yield INCOMPLETE, f"gate {gate}: no criterion passed"
    if not verdicts:
        yield INCOMPLETE, "the catalogue is empty, so nothing is shown"


def _applies(verdict: Verdict) -> bool:
    return verdict.outcome is not Outcome.NOTAPPLICABLE


def _own_reasons(verdict: Verdict, *, falsify: Extent) -> Iterable[tuple[int, str]]:
    status = _status(verdict)
    if status:
        cause = f", {verdict.cause}" if verdict.cause else ""
        yield status, f"{verdict.id} {verdict.outcome}{cause}: {verdict.message}"
    if _blocks(verdict, falsify=falsify):
        yield INCOMPLETE, f"{verdict.id} {verdict.falsification}: {_why(verdict)}"


def _status(verdict: Verdict) -> int:
    if verdict.outcome in (Outcome.PASS, Outcome.NOTAPPLICABLE):
        return RELEASED
    if verdict.cause is Cause.HARNESS_DEFECT:
        return HARNESS
    if verdict.cause is Cause.ENVIRONMENT_PROBLEM:
        return ENVIRONMENT
    if verdict.outcome is Outcome.FAIL:
        return RELEASED if verdict.disposition is Disposition.WAIVED else VIOLATION
    return INCOMPLETE


def _blocks(verdict: Verdict, *, falsify: Extent) -> bool:
    """Return whether the state of the proofs blocks a release.

    Proofs that were not requested get one reason for the whole run.
    """
    if verdict.falsification in (Falsification.BLIND, Falsification.VOID):
        return True
    missing = verdict.falsification is not Falsification.PROVEN
    asked = falsify == "all" or not verdict.falsifiers
    return missing and asked and falsify != "none" and verdict.outcome is Outcome.PASS


def _why(verdict: Verdict) -> str:
    if not verdict.proofs:
        return "its check names no falsifier"
    return "; ".join(
        f"{proof.falsifier}: {proof.message}"
        for proof in verdict.proofs
        if proof.result is not Falsification.PROVEN
    )


def _worst(statuses: Iterable[int]) -> int:
    found = set(statuses)
    for status in (HARNESS, ENVIRONMENT, VIOLATION, INCOMPLETE):
        if status in found:
            return status
    return RELEASED


def _result(
    verdicts: Sequence[Verdict], exit_status: int, *, falsify: Extent, lost: bool
) -> Result:
    """Return `partial` only if all that was judged is clean.

    What then blocks a release is the selection, missing proofs, or features not described.
    """
    if exit_status == RELEASED:
        return Result.RELEASED
    if lost:
        return Result.BLOCKED
    selected = [v for v in verdicts if v.outcome not in _LEFT_OUT]
    clean = all(_status(v) == RELEASED for v in selected) and exit_status == INCOMPLETE
    left_out = len(selected) < len(verdicts) or falsify != "all"
    held_by_proofs = any(_blocks(v, falsify=falsify) for v in selected)
    return (
        Result.PARTIAL if clean and left_out and selected and not held_by_proofs else Result.BLOCKED
    )
