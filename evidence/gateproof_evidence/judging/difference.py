"""The changes between two runs, and which of them are regressions.

Pure: two runs in, one `Difference` out. Owns the definition of a regression. A baseline blocks a
release by the same definition (`gateproof_evidence.judging.judgement`).

A criterion *holds* when it passes, is *excused* when it does not apply or fails under a valid
waiver, and is *open* otherwise. These are regressions:

1. a criterion is not in the later catalogue;
2. one that held or was excused is open, or one that held does not apply; a valid waiver covers
   this as it covers any failure;
3. a proof is lost: a falsifier that was proven is gone or has another result;
4. a proven criterion is no longer proven, though it lost no proof: a new one is blind;
5. its severity is lower;
6. it moved to a later phase;
7. the earlier run was released, and the later one is not.

Not regressions, but shown: a new criterion, a reworded claim, another commit or version.

Source: docs/reference/diff.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateproof_evidence.model import (
    Disposition,
    Extent,
    Falsification,
    Outcome,
    Regression,
    RegressionRule,
    Result,
    Run,
    Severity,
    Standing,
    Verdict,
)

_SEVERITIES = (Severity.LOW, Severity.MEDIUM, Severity.HIGH)
_OPEN, _EXCUSED, _HOLDS = range(3)
_JUDGED = ("outcome", "cause", "disposition", "falsification", "severity", "phase", "gate")
_WORDING = ("statement", "source")
_NOTHING = "none"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A value that changed."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Move:
    """A criterion of both runs that changed."""

    criterion: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """All differences between two runs."""

    regressions: tuple[Regression, ...]
    moved: tuple[Move, ...]
    appeared: tuple[str, ...]
    vanished: tuple[str, ...]
    proofs_lost: tuple[str, ...]
    """``criterion:falsifier`` of each proof that is no longer proven."""
    proofs_gained: tuple[str, ...]
    bindings: tuple[Change, ...]


def compare(before: Run, after: Run) -> Difference:
    """Compare two runs, the earlier one first."""
    old, new = standings(before), standings(after)
    names, others = {one.id: one for one in old}, {one.id: one for one in new}
    return Difference(
        regressions=(
            *regressions(old, after.criteria, falsify=after.falsify),
            *_release_lost(before, after),
        ),
        moved=tuple(_moves(before.criteria, after.criteria)),
        appeared=tuple(name for name in others if name not in names),
        vanished=tuple(name for name in names if name not in others),
        proofs_lost=tuple(_missing(old, others)),
        proofs_gained=tuple(_missing(new, names)),
        bindings=tuple(_bindings(before, after)),
    )


def standings(run: Run) -> tuple[Standing, ...]:
    """Return the state of each criterion of a run, for the comparison with a later run."""
    return tuple(_standing(verdict) for verdict in run.criteria)


def regressions(
    before: Iterable[Standing], after: Iterable[Verdict], *, falsify: Extent
) -> tuple[Regression, ...]:
    """Return the regressions of the later verdicts by rules 1 to 6.

    Args:
        before: the state of the earlier run.
        after: the later verdicts.
        falsify: which proofs were requested of the later run; a regression that only a selection
            explains is marked as left out.

    """
    verdicts = {verdict.id: verdict for verdict in after}
    found: list[Regression] = []
    for old in before:
        new = verdicts.get(old.id)
        if new is None:
            found.append(_vanished(old))
        else:
            found += _of_criterion(old, new, falsify)
    return tuple(found)


# --- the rules -------------------------------------------------------------------------------


def _vanished(old: Standing) -> Regression:  # 1
    message = f"{_describe(old)} before, not in the catalogue now"
    return _regression(RegressionRule.VANISHED, old, message)


def _of_criterion(old: Standing, new: Verdict, falsify: Extent) -> Iterator[Regression]:
    outcome = tuple(_outcome(old, new))
    yield from outcome
    yield from _proofs(old, new, falsify, only_gone=bool(outcome))
    yield from _severity(old, new)
    yield from _phase(old, new)


def _outcome(old: Standing, new: Verdict) -> Iterator[Regression]:  # 2
    now = _standing(new)
    waived = now.disposition is Disposition.WAIVED
    if _rank(now) < _rank(old) and not waived:
        why = f": {new.message}" if new.message else ""
        left_out = new.outcome is Outcome.NOTSELECTED
        message = f"{_describe(old)} before, {_describe(now)} now{why}"
        yield _regression(RegressionRule.OUTCOME, old, message, left_out=left_out)


def _proofs(
    old: Standing, new: Verdict, falsify: Extent, *, only_gone: bool
) -> Iterator[Regression]:  # 3, 4
    """Yield each lost proof; with a worse outcome as the cause, only those that are gone."""
    proofs = {proof.falsifier: proof for proof in new.proofs}
    lost = [name for name in old.proven if name not in _standing(new).proven]
    for name in lost:
        if name not in proofs:
            message = f"proof by {name}: proven before, the check does not name it now"
            yield _regression(RegressionRule.PROOF, old, message)
        elif not only_gone:
            now = proofs[name]
            idle = now.result is Falsification.UNPROVEN and falsify != "all"
            message = f"proof by {name}: proven before, {now.result} now: {now.message}"
            yield _regression(RegressionRule.PROOF, old, message, left_out=idle)
    was, now_is = old.falsification, new.falsification
    if was is Falsification.PROVEN and now_is is not was and not lost and not only_gone:
        message = f"proven before, {now_is} now"
        yield _regression(RegressionRule.FALSIFICATION, old, message)


def _severity(old: Standing, new: Verdict) -> Iterator[Regression]:  # 5
    if _SEVERITIES.index(new.severity) < _SEVERITIES.index(old.severity):
        message = f"severity {old.severity} before, {new.severity} now"
        yield _regression(RegressionRule.SEVERITY, old, message)


def _phase(old: Standing, new: Verdict) -> Iterator[Regression]:  # 6
    if _numbers(new.phase) > _numbers(old.phase):
        message = f"phase {old.phase} before, {new.phase} now, which is later"
        yield _regression(RegressionRule.PHASE, old, message)


def _release_lost(before: Run, after: Run) -> Iterator[Regression]:  # 7
    if before.result is Result.RELEASED and after.result is not Result.RELEASED:
        message = f"released before, {after.result} now (exit status {after.exit_status})"
        yield Regression(rule=RegressionRule.RELEASE, message=message)


def _regression(
    rule: RegressionRule, old: Standing, message: str, *, left_out: bool = False
) -> Regression:
    line = " ".join(message.split())
    return Regression(rule=rule, criterion=old.id, phase=old.phase, message=line, left_out=left_out)


def _standing(verdict: Verdict) -> Standing:
    return Standing(
        id=verdict.id,
        phase=verdict.phase,
        severity=verdict.severity,
        outcome=verdict.outcome,
        disposition=verdict.disposition,
        falsification=verdict.falsification,
        proven=tuple(
            proof.falsifier for proof in verdict.proofs if proof.result is Falsification.PROVEN
        ),
    )


def _rank(standing: Standing) -> int:
    if standing.outcome is Outcome.PASS:
        return _HOLDS
    excused = (
        standing.outcome is Outcome.NOTAPPLICABLE or standing.disposition is Disposition.WAIVED
    )
    return _EXCUSED if excused else _OPEN


def _describe(standing: Standing) -> str:
    if standing.outcome is Outcome.PASS:
        return f"pass, {standing.falsification}"
    if standing.disposition is Disposition.NONE:
        return str(standing.outcome)
    return f"{standing.outcome}, {standing.disposition}"


def _numbers(phase: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", phase))


# --- the other differences ---------------------------------------------------------------------


def _moves(before: Sequence[Verdict], after: Sequence[Verdict]) -> Iterator[Move]:
    later = {verdict.id: verdict for verdict in after}
    for old in before:
        new = later.get(old.id)
        if new is not None:
            fields = (*_JUDGED, *_WORDING)
            changes = _changes(
                {name: getattr(old, name) for name in fields},
                {name: getattr(new, name) for name in fields},
            )
            if changes:
                yield Move(criterion=old.id, changes=changes)


def _missing(of: Iterable[Standing], among: Mapping[str, Standing]) -> Iterator[str]:
    for one in of:
        other = among.get(one.id)
        there = other.proven if other else ()
        yield from (f"{one.id}:{name}" for name in one.proven if name not in there)


def _bindings(before: Run, after: Run) -> tuple[Change, ...]:
    return _changes(_bound(before), _bound(after))


def _bound(run: Run) -> dict[str, Any]:
    """Return the bindings of a run as a flat mapping, without those that differ in every run."""
    found: dict[str, Any] = {
        "result": run.result,
        "exit_status": run.exit_status,
        "falsify": run.falsify,
        "catalogue": run.catalogue_digest,
    }
    bindings = run.bindings.model_dump(mode="json", exclude={"nonce", "previous"})
    for name, value in bindings.items():
        if isinstance(value, dict):
            found.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            found[name] = value
    where = run.environment.model_dump(mode="json", exclude={"reason"}) if run.environment else {}
    found.update({f"environment.{key}": value for key, value in where.items()})
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(
        Change(name=name, before=_word(before.get(name)), after=_word(after.get(name)))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    )


def _word(value: Any) -> str:
    return _NOTHING if value is None else str(value)
