"""What moved between two runs, and which of it is a regression.

Pure: two runs in, one `Difference` out. Owns the definition of a regression; a baseline makes
regressions block by the same one (`gateproof_evidence.judging.judgement`).

A criterion *holds* when it passes, is *excused* when it does not apply or fails under a valid
waiver, and is *open* otherwise. These are regressions:

1. a criterion is not in the later catalogue;
2. one that held or was excused is open, or one that held does not apply; a valid waiver covers
   this as it covers any failure;
3. a proof is lost: a falsifier that was proven is gone or came to anything else;
4. a criterion that was proven is not, though none of its proofs was lost: a new one is blind;
5. its severity is lower;
6. it moved to a later phase;
7. the earlier run was released, and the later one is not.

No regression: what appeared, a claim in other words, another commit or version. It is all shown.

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
_SAID = ("outcome", "cause", "disposition", "falsification", "severity", "phase", "gate")
_WORDING = ("statement", "source")
_NOTHING = "none"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A value that is another one now."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Move:
    """A criterion of both runs of which something else is said."""

    criterion: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """All that is different in the later run."""

    regressions: tuple[Regression, ...]
    moved: tuple[Move, ...]
    appeared: tuple[str, ...]
    vanished: tuple[str, ...]
    proofs_lost: tuple[str, ...]
    """``criterion:falsifier`` of what was proven and is not."""
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
    """Return what a run shows of each criterion, as far as a later one is held against it."""
    return tuple(_standing(verdict) for verdict in run.criteria)


def regressions(
    before: Iterable[Standing], after: Iterable[Verdict], *, falsify: Extent
) -> tuple[Regression, ...]:
    """Return how the later verdicts show less, by rules 1 to 6.

    Args:
        before: what the earlier run showed.
        after: the later verdicts.
        falsify: which proofs the later run was asked for; what it was not asked to look at is
            marked as left out.

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
    message = f"{_said(old)} before, not in the catalogue now"
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
        message = f"{_said(old)} before, {_said(now)} now{why}"
        yield _regression(RegressionRule.OUTCOME, old, message, left_out=left_out)


def _proofs(
    old: Standing, new: Verdict, falsify: Extent, *, only_gone: bool
) -> Iterator[Regression]:  # 3, 4
    """Tell each lost proof; where the outcome is worse that is why, and only gone ones are told."""
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


def _said(standing: Standing) -> str:
    if standing.outcome is Outcome.PASS:
        return f"pass, {standing.falsification}"
    if standing.disposition is Disposition.NONE:
        return str(standing.outcome)
    return f"{standing.outcome}, {standing.disposition}"


def _numbers(phase: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", phase))


# --- what is shown beside them -----------------------------------------------------------------


def _moves(before: Sequence[Verdict], after: Sequence[Verdict]) -> Iterator[Move]:
    later = {verdict.id: verdict for verdict in after}
    for old in before:
        new = later.get(old.id)
        if new is not None:
            fields = (*_SAID, *_WORDING)
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
    """Return what a run is bound to, flat; what differs from run to run is left out."""
    found: dict[str, Any] = {
        "result": run.result,
        "exit_status": run.exit_status,
        "falsify": run.falsify,
        "catalogue": run.catalogue_digest,
    }
    told = run.bindings.model_dump(mode="json", exclude={"nonce", "previous"})
    for name, value in told.items():
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
