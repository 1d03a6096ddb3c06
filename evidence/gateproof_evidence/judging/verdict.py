"""The rules that derive verdicts and proofs from a journal.

Pure: only recorded data is judged, so that verification can apply the same rules to a bundle years
later. The cause comes from the records (which stage failed, whether the environment still
answered), never from the exception alone.

Source: docs/reference/verdicts.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.judging.claim import (
    NO_CLAIM,
    claim_of,
    false_claims,
    findings_text,
    prediction_text,
    why_not_green,
)
from gateproof_evidence.judging.loss import LOST, affected_items
from gateproof_evidence.judging.proof import has_landed, judge_proof, with_baseline
from gateproof_evidence.model import (
    Cause,
    CheckTakenOverEvent,
    Claim,
    ClaimEvent,
    Criterion,
    Digest,
    Disposition,
    Falsification,
    Observation,
    Outcome,
    PhaseEvent,
    PremiseEvent,
    Proof,
    ProofEvent,
    Record,
    Repeat,
    RunEvent,
    StateEvent,
    Story,
    TakenOverEvent,
    Value,
    Verdict,
    Waiver,
)
from gateproof_evidence.model.problem import first_problem

CHECK = "check"
PHASES = ("setup", "call", "teardown")
PROOF_PREFIX = "proof:"
FAULTED = "faulted"
"""The step of a proof in which the check runs under the fault."""
BASELINE_STEPS = ("baseline", "baseline-again")
"""The steps of a proof in which the check runs before the fault, once or twice."""
NO_OBSERVATION = (
    "observations of the check: got none, expected at least one; let the check read the system "
    "through a probe"
)
"""The message of a check that ended well and read nothing."""
BROKEN = ("away", "full")
"""States of the environment in which no failure is a finding."""

_WORST_FIRST = (
    Falsification.BLIND,
    Falsification.VOID,
    Falsification.UNPROVEN,
    Falsification.PROVEN,
)


class Binding(Value):
    """The result of collection for one criterion."""

    item: str
    """The node id of its check."""
    selected: bool
    falsifiers: tuple[str, ...]
    """Names of the falsifiers that the check declares."""
    needs: tuple[str, ...] = ()
    """The features of the system that the check needs."""
    shard: int | None = None
    """The number of the shard that judges it; None in a run that is not divided."""


_BINDINGS = TypeAdapter(dict[str, Binding])


_OF_NO_ITEM = (RunEvent, Repeat)
_WITH_PART = (Observation, PhaseEvent, ClaimEvent)

_RED = (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE)
_OF_THE_SYSTEM = (Cause.GATE_VIOLATION, Cause.TO_INVESTIGATE)
"""The causes that a broken worker can have; a defect of the harness stays one."""

Stage = Literal["setup", "call", "teardown"]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Outcome, cause and message of one check."""

    outcome: Outcome
    cause: Cause | None
    message: str


def derive(
    criteria: Sequence[Criterion],
    records: Sequence[Record],
    waivers: Iterable[Waiver],
    *,
    today: date,
    missing: Mapping[int, str] = MappingProxyType({}),
) -> tuple[Verdict, ...]:
    """Derive the verdict on every criterion of a catalogue from a journal.

    Args:
        criteria: the catalogue; each gets exactly one verdict, in this order.
        records: the merged journal.
        waivers: those in force; each covers only a ``fail`` of its criterion.
        today: the UTC day for the expiry of waivers.
        missing: the shards whose records a merged journal lacks: number to reason.

    Raises:
        EvidenceError: the records of collection are not valid.

    """
    bindings = read_bindings(records)
    covering = {waiver.criterion: waiver for waiver in waivers}
    by_item, by_criterion = _index(records)
    affected = affected_items(records)
    verdicts: list[Verdict] = []
    for criterion in criteria:
        binding = bindings.get(criterion.id)
        own = by_item[binding.item] if binding else ()
        proofs = _proofs(binding, by_criterion[criterion.id], affected)
        waiver = covering.get(criterion.id)
        judgement = _whole(_judgement(binding, own, missing), binding, affected)
        verdicts.append(_verdict(criterion, binding, judgement, own, proofs, waiver, today))
    failed = [
        (criterion.basis_of, verdict.id)
        for criterion, verdict in zip(criteria, verdicts, strict=True)
        if criterion.basis_of and verdict.outcome in (Outcome.FAIL, Outcome.ERROR)
    ]
    return tuple(_without_basis(one, failed) for one in verdicts)


def _without_basis(verdict: Verdict, failed: Sequence[tuple[str, str]]) -> Verdict:
    """Return a verdict, or a red one as not judged if a criterion that it builds on failed.

    Many checks need a worker that answers. Where it does not, one criterion says so; the red of the
    others shows nothing about their own claims. What passes, passes.

    Args:
        verdict: the verdict.
        failed: the failed criteria that others build on: the need that each judges, and its id.

    """
    if verdict.outcome not in _RED or verdict.cause not in _OF_THE_SYSTEM:
        return verdict
    lacking = [
        name
        for basis, name in failed
        if name != verdict.id and any(f"{need}.".startswith(f"{basis}.") for need in verdict.needs)
    ]
    if not lacking:
        return verdict
    return verdict.model_copy(
        update={
            "outcome": Outcome.INCONCLUSIVE,
            "cause": Cause.TO_INVESTIGATE,
            "disposition": Disposition.NONE,
            "message": f"not judged: {lacking[0]} failed; then: {verdict.message}",
        }
    )


def _index(
    records: Iterable[Record],
) -> tuple[Mapping[str, Sequence[Record]], Mapping[str, Sequence[Record]]]:
    """Return the records by item and by criterion: a search for each criterion would be quadratic.

    5,000 criteria have about 30,000 records.
    """
    by_item: dict[str, list[Record]] = defaultdict(list)
    by_criterion: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if isinstance(record, _OF_NO_ITEM):
            continue
        if record.item is not None:
            by_item[record.item].append(record)
        if not isinstance(record, StateEvent) and record.criterion is not None:
            by_criterion[record.criterion].append(record)
    return by_item, by_criterion


def read_bindings(records: Iterable[Record]) -> Mapping[str, Binding]:
    """Return the records of collection: criterion id to its check, selection and falsifiers.

    In a merged journal, the record of the shard that selected the check counts.

    Raises:
        EvidenceError: a record of collection is not valid.

    """
    found: dict[str, Binding] = {}
    for record in records:
        if isinstance(record, RunEvent) and record.event == "collected":
            try:
                for name, one in _BINDINGS.validate_python(record.data).items():
                    if name not in found or one.selected:
                        found[name] = one
            except ValidationError as error:
                problem = first_problem(error)
                raise EvidenceError(
                    f"journal record {record.writer}:{record.seq}: {problem.field}: got "
                    f"{problem.message}, expected a record of collection"
                ) from error
    return found


def judge_check(records: Iterable[Record], *, item: str) -> Judgement:
    """Judge one check by its stages in pytest.

    Args:
        records: the journal; only this item's records of the part ``check`` count.
        item: the node id.
    """
    own = [r for r in records if not isinstance(r, RunEvent | Repeat) and r.item == item]
    if any(isinstance(r, CheckTakenOverEvent) for r in own):
        return _judge_taken_over(own)
    seen = [r for r in own if isinstance(r, PhaseEvent) and r.part == CHECK]
    phases = {r.when: r for r in seen}
    false = false_claims(_claims(own))
    states = [r for r in own if isinstance(r, StateEvent) and r.environment in BROKEN]
    if not phases:
        return _not_run("the check did not run")
    for phase in seen:
        if phase.result == "raised":
            return _judge_raised(phase, states, false)
    if false:
        return Judgement(
            outcome=Outcome.FAIL, cause=Cause.GATE_VIOLATION, message=findings_text(false)
        )
    if len(seen) > len(phases):
        return Judgement(
            outcome=Outcome.ERROR,
            cause=Cause.HARNESS_DEFECT,
            message=f"the check ran {len(seen) - len(phases) + 1} times or more, expected once",
        )
    if set(phases) != set(PHASES):
        return _not_run("the check did not finish")
    return _judge_passed(own, phases)


def _judge_taken_over(own: Sequence[Record]) -> Judgement:
    """Judge a check that passed in an earlier bundle: verification compares it with that one."""
    events = [r for r in own if isinstance(r, CheckTakenOverEvent)]
    ran = any(isinstance(r, PhaseEvent | ClaimEvent) and r.part == CHECK for r in own)
    false = [one for one in events[0].claims if not one.holds]
    problem = (
        "a check that was taken over ran as well"
        if ran or len(events) > 1
        else "a check that was taken over has no claim, or one that does not hold"
        if false or not events[0].claims
        else ""
    )
    if problem:
        return Judgement(outcome=Outcome.ERROR, cause=Cause.HARNESS_DEFECT, message=problem)
    return Judgement(outcome=Outcome.PASS, cause=None, message="")


def _judge_passed(own: Sequence[Record], phases: Mapping[Stage, PhaseEvent]) -> Judgement:
    """Judge a check that ended without an exception and without a false claim."""
    failed = next((r for r in own if isinstance(r, PremiseEvent) and _fails(r)), None)
    if failed is not None:
        return Judgement(
            outcome=Outcome.INCONCLUSIVE,
            cause=Cause.TO_INVESTIGATE,
            message=f"the check passed in spite of a premise that does not hold: {failed.name}",
        )
    missing = _what_is_missing(own, phases["setup"], phases["call"])
    if missing:
        return Judgement(outcome=Outcome.INCONCLUSIVE, cause=Cause.TO_INVESTIGATE, message=missing)
    return Judgement(outcome=Outcome.PASS, cause=None, message="")


def _what_is_missing(own: Sequence[Record], setup: PhaseEvent, call: PhaseEvent) -> str:
    """Return which records a pass lacks: a claim, then an observation; empty if it has both."""
    if not _claimed(own, setup, call):
        return NO_CLAIM
    return "" if _observed(own, setup, call) else NO_OBSERVATION


def _claims(own: Iterable[Record]) -> Sequence[ClaimEvent]:
    """Return the claims that the check itself stated."""
    return [r for r in own if isinstance(r, ClaimEvent) and r.part == CHECK]


def _fails(premise: PremiseEvent) -> bool:
    return premise.part == CHECK and not premise.holds


def _observed(own: Sequence[Record], setup: PhaseEvent, call: PhaseEvent) -> bool:
    """Return whether the check itself observed anything: fixtures' observations do not count."""
    return any(isinstance(r, Observation) and _is_within(r, setup, call) for r in own)


def _claimed(own: Sequence[Record], setup: PhaseEvent, call: PhaseEvent) -> bool:
    """Return whether the check itself stated a claim: those of fixtures do not count."""
    return any(isinstance(r, ClaimEvent) and _is_within(r, setup, call) for r in own)


def _is_within(record: Observation | ClaimEvent, setup: PhaseEvent, call: PhaseEvent) -> bool:
    """Return whether a record is of the call of the check, and not of its fixtures."""
    same = record.part == CHECK and record.writer == call.writer
    return same and setup.seq < record.seq < call.seq


def environment_problems(records: Iterable[Record]) -> tuple[PhaseEvent | StateEvent, ...]:
    """Return, for each item that is no check and that the environment ended, the first record.

    A server that is away is left out: faults may stop it.
    """
    found: dict[str, PhaseEvent | StateEvent] = {}
    for record in records:
        if isinstance(record, PhaseEvent):
            ended = record.category == "environment"
        elif isinstance(record, StateEvent):
            ended = record.environment == "full"
        else:
            continue
        if ended and record.part != CHECK:
            found.setdefault(record.item, record)
    return tuple(found.values())


def worst_falsification(results: Iterable[Falsification]) -> Falsification:
    """Return the worst of several results; without a proof it is `unproven`."""
    found = set(results) or {Falsification.UNPROVEN}
    return next(one for one in _WORST_FIRST if one in found)


# --- one criterion ---------------------------------------------------------------------------


def _verdict(
    criterion: Criterion,
    binding: Binding | None,
    judgement: Judgement,
    own: Sequence[Record],
    proofs: tuple[Proof, ...],
    waiver: Waiver | None,
    today: date,
) -> Verdict:
    seen = [r for r in own if isinstance(r, Observation) and r.part == CHECK]
    earlier = next((r for r in own if isinstance(r, CheckTakenOverEvent)), None)
    return Verdict(
        **criterion.model_dump(exclude={"basis_of"}),
        outcome=judgement.outcome,
        cause=judgement.cause,
        message=judgement.message,
        disposition=_disposition(judgement, waiver, today),
        waiver=waiver,
        falsification=worst_falsification(proof.result for proof in proofs),
        falsifiers=len(binding.falsifiers) if binding else 0,
        needs=binding.needs if binding else (),
        proofs=proofs,
        duration_s=_duration_s(own),
        claims=earlier.claims if earlier else tuple(claim_of(r) for r in _claims(own)),
        observations=tuple(r.digest for r in seen),
        captures=tuple(r.capture for r in seen),
        taken_over=earlier.attestation if earlier else None,
        ran=earlier.ran if earlier else None,
    )


def _judgement(
    binding: Binding | None, records: Sequence[Record], missing: Mapping[int, str]
) -> Judgement:
    if binding is None:
        return _not_run("no check was collected")
    if not binding.selected:
        absent = missing.get(binding.shard or 0)
        if absent:
            return _not_run(absent)
        message = (
            f"shard {binding.shard} judges it" if binding.shard else "not selected in this run"
        )
        return Judgement(outcome=Outcome.NOTSELECTED, cause=None, message=message)
    return judge_check(records, item=binding.item)


def _whole(judgement: Judgement, binding: Binding | None, affected: Container[str]) -> Judgement:
    """Return the judgement, unless it is good and a lost record might contradict it."""
    good = judgement.outcome in (Outcome.PASS, Outcome.NOTAPPLICABLE, Outcome.NOTDESCRIBED)
    if binding is None or binding.item not in affected or not good:
        return judgement
    return Judgement(outcome=Outcome.ERROR, cause=Cause.HARNESS_DEFECT, message=LOST)


def _not_run(message: str) -> Judgement:
    return Judgement(outcome=Outcome.NOTCHECKED, cause=Cause.TO_INVESTIGATE, message=message)


def _judge_raised(
    phase: PhaseEvent, broken: Sequence[StateEvent], false: Sequence[Claim]
) -> Judgement:
    """Judge an exception in one stage: a false claim, or an assertion in the call, is a `fail`.

    A false claim stays a finding, whatever exception follows it, unless the environment broke.
    """
    category = phase.category
    message = phase.message or "no message"
    lacking = _judge_lack(category, message, false)
    if lacking:
        return lacking
    if broken or category == "environment":
        message = "; ".join([*dict.fromkeys(r.detail for r in broken if r.detail), message])
        return Judgement(outcome=Outcome.ERROR, cause=Cause.ENVIRONMENT_PROBLEM, message=message)
    if false and phase.when == "call":
        return Judgement(outcome=Outcome.FAIL, cause=Cause.GATE_VIOLATION, message=message)
    if category in ("inconclusive", "premise", "limit"):
        return Judgement(outcome=Outcome.INCONCLUSIVE, cause=Cause.TO_INVESTIGATE, message=message)
    if category == "notready":
        return Judgement(outcome=Outcome.ERROR, cause=Cause.TO_INVESTIGATE, message=message)
    if category == "assertion" and phase.when == "call":
        return Judgement(outcome=Outcome.FAIL, cause=Cause.GATE_VIOLATION, message=message)
    return Judgement(
        outcome=Outcome.ERROR, cause=Cause.HARNESS_DEFECT, message=f"in {phase.when}: {message}"
    )


def _judge_lack(category: str, message: str, false: Sequence[Claim]) -> Judgement | None:
    """Judge a check for which the system or the machine lacks something; None for any other."""
    if category == "notapplicable" and not false:
        return Judgement(outcome=Outcome.NOTAPPLICABLE, cause=None, message=message)
    if category == "notdescribed":
        return Judgement(outcome=Outcome.NOTDESCRIBED, cause=None, message=message)
    if category == "ability" and not false:
        cause = Cause.ENVIRONMENT_PROBLEM
        return Judgement(outcome=Outcome.NOTCHECKED, cause=cause, message=message)
    return None


def _disposition(judgement: Judgement, waiver: Waiver | None, today: date) -> Disposition:
    if waiver is None or judgement.outcome is not Outcome.FAIL:
        return Disposition.NONE
    expired = date.fromisoformat(waiver.expires) < today
    return Disposition.WAIVER_EXPIRED if expired else Disposition.WAIVED


def _proofs(
    binding: Binding | None,
    records: Sequence[Record],
    affected: Container[str],
) -> tuple[Proof, ...]:
    if binding is None:
        return ()
    by_falsifier: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        name = _falsifier_of(record)
        if name is not None:
            by_falsifier[name].append(record)
    recorded = [r for r in records if isinstance(r, ProofEvent | TakenOverEvent)]
    stories = [_story(r) for r in recorded]
    seen_again = not stories or any(story.baseline_runs > 1 for story in stories)
    once = "" if seen_again else "no proof ran the check twice on an unchanged copy"
    times = Counter(r.falsifier for r in recorded)
    whole = {
        r.falsifier: _story(r)
        for r in recorded
        if r.item not in affected and times[r.falsifier] == 1
    }
    return tuple(
        _proof(name, by_falsifier[name], affected, others=whole, doubt=once)
        for name in binding.falsifiers
    )


def _falsifier_of(record: Record) -> str | None:
    """Return the falsifier whose proof a record belongs to; None if it belongs to none."""
    if isinstance(record, _WITH_PART):
        if record.part.startswith(PROOF_PREFIX):
            return record.part.removeprefix(PROOF_PREFIX).partition(":")[0]
        return None
    return record.falsifier if isinstance(record, ProofEvent | TakenOverEvent) else None


def _proof(
    name: str,
    records: Sequence[Record],
    affected: Container[str],
    *,
    others: Mapping[str, Story],
    doubt: str,
) -> Proof:
    """Judge one proof.

    Args:
        name: its falsifier.
        records: the records of its proof.
        affected: items that may have lost a record.
        others: the stories of the proofs of the same check that ran once and have lost nothing.
        doubt: what is wrong with the baselines of all proofs of the check; empty if nothing.

    """
    events = [r for r in records if isinstance(r, ProofEvent | TakenOverEvent)]
    event = with_baseline(_story(events[0]), others) if events else None
    taken = [r.attestation for r in events if isinstance(r, TakenOverEvent)]
    own = f"{PROOF_PREFIX}{name}"
    phases = [r for r in records if isinstance(r, PhaseEvent) and r.part == own]
    doubted = event is not None and event.baseline == "pass"  # otherwise that is what is wrong
    claims = [r for r in records if isinstance(r, ClaimEvent) and r.part != own]
    broken = _what_broke(events, phases, claims) or (doubt if doubted else "")
    if any(record.item in affected for record in (*events, *phases)):
        broken = LOST
    result, message = judge_proof(event, broken=broken)
    return Proof(
        falsifier=name,
        kind=event.fault_kind if event else "",
        fault=event.fault if event else "",
        result=result,
        expected=prediction_text(event) if event else "",
        message=message,
        landed=event is not None and has_landed(event),
        story=digest_of_story(events[0]) if events else None,
        transcript=next((r.transcript for r in records if isinstance(r, Observation)), ""),
        duration_s=round(sum(phase.duration_s for phase in phases), 3),
        baseline_of=event.baseline_of if event else "",
        depends=event.depends if event else None,
        taken_over=taken[0] if taken else None,
    )


def digest_of_story(record: ProofEvent | TakenOverEvent) -> Digest:
    """Return the digest of the steps of a proof, by which a later run refers to it."""
    return digest_of(_story(record).model_dump_json().encode())


def _story(record: ProofEvent | TakenOverEvent) -> ProofEvent:
    return record.story if isinstance(record, TakenOverEvent) else record


def _what_broke(
    events: Sequence[Record], phases: Sequence[PhaseEvent], claims: Sequence[ClaimEvent]
) -> str:
    """Return what failed outside of a proof's judgement; its own call may raise its verdict."""
    if len(events) > 1:
        return f"it ran {len(events)} times, expected once"
    if events and isinstance(events[0], ProofEvent):
        contradiction = _contradiction(events[0], claims)
        if contradiction:
            return contradiction
    raised = [r for r in phases if r.result == "raised" and (r.when != "call" or not events)]
    return (raised[0].message or raised[0].category) if raised else ""


def _contradiction(event: ProofEvent, claims: Sequence[ClaimEvent]) -> str:
    """Return what the journal's claims say against the record of a proof.

    1. The findings are the false claims that the check stated under the fault.
    2. In each run of a baseline that is green, the check stated a claim, and none was false.
    """
    # 1
    if event.findings != false_claims(_of_step(claims, FAULTED)):
        return "the findings of its record are not the false claims of the journal"
    # 2
    runs = event.baseline_runs if event.baseline == "pass" else 0
    for step in BASELINE_STEPS[:runs]:
        problem = why_not_green(_of_step(claims, step))
        if problem:
            return f"its {step} is recorded as green: {problem}"
    return ""


def _of_step(claims: Sequence[ClaimEvent], step: str) -> Sequence[ClaimEvent]:
    return [claim for claim in claims if claim.part.endswith(f":{step}")]


def _duration_s(records: Iterable[Record]) -> float:
    phases = (r for r in records if isinstance(r, PhaseEvent) and r.part == CHECK)
    return round(sum(phase.duration_s for phase in phases), 6)
