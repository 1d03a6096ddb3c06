"""The rules that judge a proof, and the self-proof of the harness.

Pure, like `gateproof_evidence.judging.verdict`: the recorded steps of a proof are judged, here and
in verification.

Source: docs/reference/verdicts.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TypeVar

from gateproof_evidence.judging.claim import (
    claim_text,
    findings_text,
    predicted_finding,
    prediction_text,
)
from gateproof_evidence.model import (
    Cell,
    CellEvent,
    CellResult,
    Falsification,
    ProofEvent,
    Record,
    SelfProofEvent,
    Specimen,
    Story,
)

SPECIMENS = {
    "always-green": Falsification.BLIND,
    "always-red": Falsification.VOID,
    "change-that-does-not-matter": Falsification.BLIND,
    "fault-that-does-not-land": Falsification.VOID,
    "fault-that-is-denied": Falsification.VOID,
    "red-by-an-error": Falsification.VOID,
    "red-by-a-premise": Falsification.VOID,
    "red-by-an-assertion": Falsification.VOID,
    "green-without-a-claim": Falsification.VOID,
    "red-for-another-reason": Falsification.VOID,
    "red-by-another-claim": Falsification.VOID,
    "red-on-another-object": Falsification.VOID,
    "claim-that-can-fail": Falsification.PROVEN,
    "check-that-can-fail": Falsification.PROVEN,
}
"""Specimen to the required result of its proof, in every run that proves anything."""


SELF_PROOF_PREFIX = "self-proof:"


def judge_proof(event: Story | None, *, broken: str = "") -> tuple[Falsification, str]:
    """Judge one proof of a falsifier.

    Args:
        event: its record with the baseline that counts (see `with_baseline`), or None if none was
            written.
        broken: why its set-up or clean-up broke, or its record is missing; empty if all is well.

    Returns:
        The falsification, and the message to show: the check's message, or why it is void.

    """
    if broken:
        return Falsification.VOID, f"the proof broke before its end: {broken}"
    if event is None:
        return Falsification.UNPROVEN, "did not run"
    if event.baseline == event.faulted == "pass" and has_landed(event):
        return Falsification.BLIND, "the check stayed green under the fault"
    why_void = _why_void(event)
    if why_void:
        return Falsification.VOID, why_void
    predicted = predicted_finding(event)
    return Falsification.PROVEN, claim_text(predicted) if predicted else ""


S = TypeVar("S", bound=Story)


def with_baseline(event: S, others: Mapping[str, Story]) -> S:
    """Return a story with the baseline that counts for it: its own, or that of another proof.

    Args:
        event: the story of a proof.
        others: the stories of the proofs of the same check, by falsifier.

    """
    name = event.baseline_of
    if not name:
        return event
    other = others.get(name)
    if other is None:
        baseline, runs = f"that of {name}, which has no whole record", 0
    elif other.baseline_of:
        baseline, runs = f"that of {name}, which has none of its own", 0
    elif other.shape != event.shape:
        baseline, runs = f"that of {name}, on another kind of copy: {other.shape}", 0
    else:
        baseline, runs = other.baseline, other.baseline_runs
    return event.model_copy(update={"baseline": baseline, "baseline_runs": runs})


def _why_void(event: Story) -> str:
    """Return which step failed; empty if all succeeded."""
    if event.baseline != "pass":
        return f"baseline was not green: {event.baseline}"
    if event.refusal:
        return f"the fault could not be injected: {event.refusal}"
    if not has_landed(event):
        return f"the fault did not land: the fingerprint stayed {event.fingerprint_after!r}"
    if event.faulted_category == "premise":
        return f"red by a premise, which the fault broke instead of the claim: {event.faulted}"
    if event.faulted_category != "assertion":
        return f"red by {event.faulted_category}, not by an assertion: {event.faulted}"
    return "" if predicted_finding(event) else _unpredicted(event)


def _unpredicted(event: Story) -> str:
    """Return the predicted claim, and the finding that is nearest to it.

    An assertion without a false claim is no finding: a verdict cannot be judged again from it.
    """
    where = f" on {event.target}, which the fault changes" if event.target else ""
    wanted = f"expected the finding {prediction_text(event)!r}{where}"
    if not event.findings:
        got = _first_line(event.faulted)
        return f"red by an assertion without a claim: {wanted}, got {got}; state it with claim(...)"
    same = [one for one in event.findings if one.name == event.expected_claim]
    return f"red for another reason: {wanted}, got {findings_text(same or event.findings)}"


def _first_line(message: str) -> str:
    return message.splitlines()[0] if message else ""


def has_landed(event: Story) -> bool:
    """Return whether the fingerprint changed after the fault was injected."""
    after = event.fingerprint_after
    return after is not None and after != event.fingerprint_before


def judge_self_proof(
    records: Iterable[Record], *, excused: Container[str] = ()
) -> tuple[tuple[Specimen, ...], tuple[str, ...]]:
    """Judge the specimens.

    Args:
        records: the journal.
        excused: parts that a problem of the environment ended: they show no defect.

    Returns:
        The result of each, and a defect for each that differs from the required result.

    """
    events = [record for record in records if isinstance(record, SelfProofEvent)]
    found = tuple(_specimen(name, events) for name in SPECIMENS)
    defects = tuple(
        f"self-proof: {one.name}: got {one.result}, expected {one.wanted}: {one.message}"
        for one in found
        if one.result is not one.wanted and f"{SELF_PROOF_PREFIX}{one.name}" not in excused
    )
    return found, defects


def _specimen(name: str, events: Sequence[SelfProofEvent]) -> Specimen:
    own = [event for event in events if event.specimen == name]
    if len(own) == 1:
        result, message = judge_proof(own[0])
    else:
        result, message = Falsification.UNPROVEN, f"it ran {len(own)} times, expected once"
    return Specimen(name=name, wanted=SPECIMENS[name], result=result, message=message)


def judge_cells(records: Iterable[Record]) -> tuple[Cell, ...]:
    """Judge every check against every falsifier of its gate that it was run against.

    Empty if no check was run against a falsifier of another criterion.
    """
    stories = [record for record in records if isinstance(record, CellEvent | ProofEvent)]
    if not any(isinstance(story, CellEvent) for story in stories):
        return ()
    proofs: dict[str, dict[str, Story]] = defaultdict(dict)
    for story in stories:
        if isinstance(story, ProofEvent):
            proofs[story.criterion][story.falsifier] = story
    return tuple(_cell(story, proofs[story.criterion]) for story in stories)


def _cell(story: CellEvent | ProofEvent, proofs: Mapping[str, Story]) -> Cell:
    result, message = judge_cell(with_baseline(story, proofs))
    return Cell(
        criterion=story.criterion,
        owner=story.owner if isinstance(story, CellEvent) else story.criterion,
        falsifier=story.falsifier,
        result=result,
        message=message,
    )


def judge_cell(story: Story) -> tuple[CellResult, str]:
    """Judge the effect of a fault on a check by any message; there is no prediction for it."""
    if story.baseline != "pass" or story.refusal or not has_landed(story):
        return "void", _why_void(story)
    if story.faulted == "pass":
        return "survived", ""
    killed = story.faulted_category == "assertion"
    return "killed" if killed else "broken", _first_line(story.faulted)
