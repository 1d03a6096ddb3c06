"""The rules that turn a journal into verdicts, proofs and a roll-up.

Pure: what is judged is what was recorded, so that verification can apply the same rules to a
bundle years later. The cause comes from what was recorded (which phase broke, whether the
environment still answered), never from the exception alone.

Source: docs/reference/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from evidence.model import (
    Cause,
    Criterion,
    Disposition,
    Falsification,
    Observation,
    Outcome,
    PhaseEvent,
    Proof,
    ProofEvent,
    Record,
    Result,
    RunEvent,
    StateEvent,
    Verdict,
    Waiver,
)

CHECK = "check"
PHASES = ("setup", "call", "teardown")
PROOF_PREFIX = "proof:"

RELEASED, VIOLATION, INCOMPLETE, ENVIRONMENT, HARNESS = 0, 1, 100, 102, 103
"""Exit statuses of a run that pytest itself has nothing to say about."""

PYTEST_OWN = (2, 3, 4, 5)
"""Interrupted, internal error, bad input, nothing collected: they win over all of ours."""

_WORST_FIRST = (
    Falsification.BLIND,
    Falsification.VOID,
    Falsification.UNPROVEN,
    Falsification.PROVEN,
)


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What collection said of one criterion."""

    item: str
    """The node id of its check."""
    selected: bool
    falsifiers: tuple[str, ...]
    """Names of the falsifiers that the check declares."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Outcome, cause and message of one check."""

    outcome: Outcome
    cause: Cause | None
    message: str


@dataclass(frozen=True, kw_only=True)
class RollUp:
    """What a run comes to."""

    result: Result
    exit_status: int
    reasons: tuple[str, ...]


def derive(
    criteria: Sequence[Criterion],
    records: Sequence[Record],
    waivers: Iterable[Waiver],
    *,
    today: date,
) -> tuple[Verdict, ...]:
    """Derive the verdict on every criterion of a catalogue from a journal.

    Args:
        criteria: the catalogue; each gets exactly one verdict, in this order.
        records: the merged journal.
        waivers: those that were in force; each covers a ``fail`` of its criterion only.
        today: the UTC day against which waivers expire.

    """
    bindings = read_bindings(records)
    covering = {waiver.criterion: waiver for waiver in waivers}
    return tuple(
        _verdict(
            criterion,
            bindings.get(criterion.id),
            records,
            covering.get(criterion.id),
            today,
        )
        for criterion in criteria
    )


def read_bindings(records: Iterable[Record]) -> Mapping[str, Binding]:
    """Return what collection recorded: criterion id to its check, selection and falsifiers."""
    found: dict[str, Binding] = {}
    for record in records:
        if isinstance(record, RunEvent) and record.event == "collected":
            for criterion, told in record.data.items():
                assert isinstance(told, dict)
                names = told["falsifiers"]
                assert isinstance(names, list)
                found[criterion] = Binding(
                    item=str(told["item"]),
                    selected=bool(told["selected"]),
                    falsifiers=tuple(str(name) for name in names),
                )
    return found


def judge_check(records: Iterable[Record], *, item: str) -> Judgement:
    """Judge one check by the phases that pytest ran of it.

    Args:
        records: the journal; only this item's records of the part ``check`` are looked at.
        item: the node id.
    """
    own = [r for r in records if not isinstance(r, RunEvent) and r.item == item]
    seen = [r for r in own if isinstance(r, PhaseEvent) and r.part == CHECK]
    phases = {r.when: r for r in seen}
    away = any(isinstance(r, StateEvent) and r.environment == "away" for r in own)
    if not phases:
        return _not_run("the check did not run")
    for phase in seen:
        if phase.result == "raised":
            return _judge_raised(phase, away=away)
    if len(seen) > len(phases):
        return Judgement(
            outcome=Outcome.ERROR,
            cause=Cause.HARNESS_DEFECT,
            message=f"the check ran {len(seen) - len(phases) + 1} times or more, expected once",
        )
    if set(phases) != set(PHASES):
        return _not_run("the check did not come to an end")
    if not _observed(own, phases["setup"], phases["call"]):
        return Judgement(
            outcome=Outcome.INCONCLUSIVE,
            cause=Cause.TO_INVESTIGATE,
            message="the check passed without having observed anything",
        )
    return Judgement(outcome=Outcome.PASS, cause=None, message="")


def _observed(own: Sequence[Record], setup: PhaseEvent, call: PhaseEvent) -> bool:
    """Tell whether the check itself saw anything: what its fixtures saw is no evidence."""
    return any(
        isinstance(r, Observation)
        and r.part == CHECK
        and r.writer == call.writer
        and setup.seq < r.seq < call.seq
        for r in own
    )


def judge_proof(event: ProofEvent | None, *, broken: str = "") -> tuple[Falsification, str]:
    """Judge one falsifier's story.

    Args:
        event: its record, or None where none was written.
        broken: why its set-up or clean-up broke, or its record is missing; empty when all is well.

    Returns:
        The falsification, and the message to show: what the check said, or why it is void.

    """
    if broken:
        return Falsification.VOID, f"the proof broke before its end: {broken}"
    if event is None:
        return Falsification.UNPROVEN, "did not run"
    if event.baseline == event.faulted == "pass" and _landed(event):
        return Falsification.BLIND, "the check stayed green under the fault"
    why_void = _why_void(event)
    if why_void:
        return Falsification.VOID, why_void
    return Falsification.PROVEN, _first_line(event.faulted)


def _why_void(event: ProofEvent) -> str:
    """Return which step did not happen as it must; empty when all did."""
    if event.baseline != "pass":
        return f"baseline was not green: {event.baseline}"
    if event.refusal:
        return f"the fault could not be injected: {event.refusal}"
    if not _landed(event):
        return f"the fault did not land: the fingerprint stayed {event.fingerprint_after!r}"
    if event.faulted_category != "assertion":
        return f"red by {event.faulted_category}, not by an assertion: {event.faulted}"
    said = _first_line(event.faulted)  # what follows it is pytest's own
    if event.expected not in said:
        return f"red for another reason: expected {event.expected!r} in {said!r}"
    return ""


def _first_line(message: str) -> str:
    return message.splitlines()[0] if message else ""


def roll_up(
    verdicts: Sequence[Verdict],
    *,
    pytest_status: int = 0,
    defects: Sequence[str] = (),
    falsify: bool = True,
) -> RollUp:
    """Roll verdicts up to a result and an exit status; the worst one wins.

    Args:
        verdicts: one for every criterion of the catalogue.
        pytest_status: pytest's own exit status; 2 to 5 win over everything.
        defects: harness defects that belong to no criterion.
        falsify: whether proofs were asked for; without them the result is incomplete.

    """
    statuses = {reason: status for status, reason in _reasons(verdicts, defects, falsify=falsify)}
    exit_status = _worst(statuses.values())
    if pytest_status in PYTEST_OWN:
        exit_status = pytest_status
    return RollUp(
        result=_result(verdicts, exit_status, falsify=falsify),
        exit_status=exit_status,
        reasons=tuple(statuses),
    )


def worst_falsification(results: Iterable[Falsification]) -> Falsification:
    """Return the worst of several; no proof at all is `unproven`."""
    found = set(results) or {Falsification.UNPROVEN}
    return next(one for one in _WORST_FIRST if one in found)


# --- one criterion ---------------------------------------------------------------------------


def _verdict(
    criterion: Criterion,
    binding: Binding | None,
    records: Sequence[Record],
    waiver: Waiver | None,
    today: date,
) -> Verdict:
    judgement = _judgement(binding, records)
    item = binding.item if binding else None
    seen = [
        r
        for r in records
        if isinstance(r, Observation) and r.part == CHECK and item and r.item == item
    ]
    proofs = _proofs(criterion.id, binding, records)
    return Verdict(
        **criterion.model_dump(),
        outcome=judgement.outcome,
        cause=judgement.cause,
        message=judgement.message,
        disposition=_disposition(judgement, waiver, today),
        waiver=waiver,
        falsification=worst_falsification(proof.result for proof in proofs),
        falsifiers=len(binding.falsifiers) if binding else 0,
        proofs=proofs,
        duration_s=_duration_s(item, records),
        observations=tuple(r.digest for r in seen),
        captures=tuple(r.capture for r in seen),
    )


def _judgement(binding: Binding | None, records: Sequence[Record]) -> Judgement:
    if binding is None:
        return _not_run("no check was collected")
    if not binding.selected:
        return Judgement(
            outcome=Outcome.NOTSELECTED, cause=None, message="left out by the selection of this run"
        )
    return judge_check(records, item=binding.item)


def _not_run(message: str) -> Judgement:
    return Judgement(outcome=Outcome.NOTCHECKED, cause=Cause.TO_INVESTIGATE, message=message)


def _judge_raised(phase: PhaseEvent, *, away: bool) -> Judgement:
    """Say what an exception in one phase means; only an assertion in the call is a `fail`."""
    category = phase.category
    message = phase.message or "no message"
    if category == "notapplicable":
        return Judgement(outcome=Outcome.NOTAPPLICABLE, cause=None, message=message)
    if away or category == "environment":
        return Judgement(outcome=Outcome.ERROR, cause=Cause.ENVIRONMENT_PROBLEM, message=message)
    if category in ("inconclusive", "limit"):
        return Judgement(outcome=Outcome.INCONCLUSIVE, cause=Cause.TO_INVESTIGATE, message=message)
    if category == "notready":
        return Judgement(outcome=Outcome.ERROR, cause=Cause.TO_INVESTIGATE, message=message)
    if category == "assertion" and phase.when == "call":
        return Judgement(outcome=Outcome.FAIL, cause=Cause.GATE_VIOLATION, message=message)
    return Judgement(
        outcome=Outcome.ERROR, cause=Cause.HARNESS_DEFECT, message=f"in {phase.when}: {message}"
    )


def _disposition(judgement: Judgement, waiver: Waiver | None, today: date) -> Disposition:
    if waiver is None or judgement.outcome is not Outcome.FAIL:
        return Disposition.NONE
    expired = date.fromisoformat(waiver.expires) < today
    return Disposition.WAIVER_EXPIRED if expired else Disposition.WAIVED


def _proofs(
    criterion: str, binding: Binding | None, records: Sequence[Record]
) -> tuple[Proof, ...]:
    if binding is None:
        return ()
    own = [r for r in records if not isinstance(r, RunEvent | StateEvent)]
    own = [r for r in own if r.criterion == criterion]
    return tuple(_proof(criterion, name, own) for name in binding.falsifiers)


def _proof(criterion: str, name: str, records: Sequence[Record]) -> Proof:
    events = [r for r in records if isinstance(r, ProofEvent) and r.falsifier == name]
    event = events[0] if events else None
    phases = [r for r in records if isinstance(r, PhaseEvent) and r.part == f"{PROOF_PREFIX}{name}"]
    result, message = judge_proof(event, broken=_what_broke(events, phases))
    return Proof(
        falsifier=name,
        kind=event.fault_kind if event else "",
        fault=event.fault if event else "",
        result=result,
        expected=event.expected if event else "",
        message=message,
        landed=event is not None and _landed(event),
        record=f"proofs/{criterion}/{name}.json" if event else "",
    )


def _what_broke(events: Sequence[ProofEvent], phases: Sequence[PhaseEvent]) -> str:
    """Return what went wrong around a proof; in its call the proof's own verdict may raise."""
    if len(events) > 1:
        return f"it ran {len(events)} times, expected once"
    raised = [r for r in phases if r.result == "raised" and (r.when != "call" or not events)]
    return (raised[0].message or raised[0].category) if raised else ""


def _landed(event: ProofEvent) -> bool:
    after = event.fingerprint_after
    return after is not None and after != event.fingerprint_before


def _duration_s(item: str | None, records: Iterable[Record]) -> float:
    phases = (
        r for r in records if isinstance(r, PhaseEvent) and r.item == item and r.part == CHECK
    )
    return round(sum(phase.duration_s for phase in phases), 6)


# --- the run ---------------------------------------------------------------------------------


def _reasons(
    verdicts: Sequence[Verdict], defects: Sequence[str], *, falsify: bool
) -> Iterable[tuple[int, str]]:
    """Give every obstacle to a release with the exit status that it asks for."""
    for defect in defects:
        yield HARNESS, f"harness defect: {defect}"
    for verdict in verdicts:
        yield from _own_reasons(verdict, falsify=falsify)
    if not falsify:
        yield INCOMPLETE, "no check was shown able to fail: the run was asked not to falsify"
    for gate in dict.fromkeys(verdict.gate for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.gate == gate]
        if not any(v.outcome is Outcome.PASS for v in own):
            yield INCOMPLETE, f"gate {gate}: not one criterion passed"
    if not verdicts:
        yield INCOMPLETE, "the catalogue is empty: nothing was expected, so nothing is shown"


def _own_reasons(verdict: Verdict, *, falsify: bool) -> Iterable[tuple[int, str]]:
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


def _blocks(verdict: Verdict, *, falsify: bool) -> bool:
    """Say whether the state of the proofs holds a release back.

    A criterion without any falsifier is shown as `unproven` and does not block yet.
    """
    if verdict.falsification in (Falsification.BLIND, Falsification.VOID):
        return True
    missing = verdict.falsification is Falsification.UNPROVEN and verdict.falsifiers > 0
    return falsify and missing and verdict.outcome is Outcome.PASS


def _why(verdict: Verdict) -> str:
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


def _result(verdicts: Sequence[Verdict], exit_status: int, *, falsify: bool) -> Result:
    """Say `partial` only where nothing but the selection, or missing proofs, hold it back."""
    if exit_status == RELEASED:
        return Result.RELEASED
    selected = [v for v in verdicts if v.outcome is not Outcome.NOTSELECTED]
    clean = all(_status(v) == RELEASED for v in selected) and exit_status == INCOMPLETE
    left_out = len(selected) < len(verdicts) or not falsify
    held_by_proofs = any(_blocks(v, falsify=falsify) for v in selected)
    return (
        Result.PARTIAL if clean and left_out and selected and not held_by_proofs else Result.BLOCKED
    )
