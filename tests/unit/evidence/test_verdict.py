"""The result of a journal: outcomes, causes, proofs and exit statuses."""

from __future__ import annotations

import datetime as dt
from itertools import count
from typing import Any

import pytest

from gateproof_evidence.judging.proof import judge_proof
from gateproof_evidence.judging.result import roll_up
from gateproof_evidence.judging.verdict import derive, judge_check, worst_falsification
from gateproof_evidence.model import (
    Cause,
    Claim,
    ClaimEvent,
    Criterion,
    Disposition,
    Falsification,
    Observation,
    Outcome,
    PhaseEvent,
    PremiseEvent,
    ProofEvent,
    Record,
    Result,
    RunEvent,
    StateEvent,
    Verdict,
    Waiver,
)

AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TODAY = AT.date()
ITEM = "gates/x/test_x.py::test_x"
CRITERION = Criterion(
    id="XYZ-01", gate="x", phase="B0.1", statement="The claim holds.", source="a contract"
)
NUMBERS = count()
DIGEST = "sha256:" + "0" * 64


def entry(**fields: Any) -> dict[str, Any]:
    """Return the fields of every record."""
    return {"writer": "main", "seq": next(NUMBERS), "at": AT, **fields}


def phase(when: str, category: str = "none", message: str = "", part: str = "check") -> Record:
    """Return the record of a stage that passed, or raised with a category."""
    return PhaseEvent(
        **entry(
            item=ITEM,
            criterion="XYZ-01",
            part=part,
            when=when,
            result="passed" if category == "none" else "raised",
            category=category,
            message=message,
            duration_s=0.5,
        )
    )


def observation() -> Record:
    """Return an observation of the check."""
    return Observation(
        **entry(
            criterion="XYZ-01",
            item=ITEM,
            part="check",
            probe="sql",
            summary="asked",
            data={},
            transcript="transcripts/x/XYZ-01.txt",
            line=1,
            start=0,
            size=0,
            digest=DIGEST,
        )
    )


def claimed(*, holds: bool = True, part: str = "check") -> ClaimEvent:
    """Return the record of a claim."""
    got = "5" if holds else "4"
    fields = {"name": "rows that the tenant sees", "on": "events", "got": got, "expected": "5"}
    return ClaimEvent(
        **entry(item=ITEM, criterion="XYZ-01", part=part, relation="equals", holds=holds, **fields)
    )


def state(environment: str) -> Record:
    """Return the record of the environment's state after a failure."""
    return StateEvent(**entry(item=ITEM, part="check", environment=environment))


def collected(*, selected: bool = True, falsifiers: tuple[str, ...] = ()) -> Record:
    """Return the record of collection."""
    binding = {"item": ITEM, "selected": selected, "falsifiers": list(falsifiers)}
    return RunEvent(**entry(event="collected", data={"XYZ-01": binding}))


FINDING = Claim(
    name="rows that the tenant sees",
    on="events",
    got="4",
    relation="equals",
    expected="5",
    holds=False,
)


def claims_of_proof(falsifier: str = "drop-policy") -> tuple[Record, ...]:
    """Return the claims that the check stated in the steps of `proof`."""
    part = f"proof:{falsifier}"
    return (
        claimed(part=f"{part}:baseline"),
        claimed(part=f"{part}:baseline-again"),
        claimed(part=f"{part}:faulted", holds=False),
    )


ALL_CLAIMS = (*claims_of_proof(), *claims_of_proof("no-force"))


def proof(**fields: Any) -> ProofEvent:
    """Return a complete proof, with changes."""
    fields_of_a_proof = {
        "item": ITEM,
        "criterion": "XYZ-01",
        "falsifier": "drop-policy",
        "fault_kind": "sql",
        "fault": "DROP POLICY p",
        "expected": "got 4",
        "fingerprint_before": "[('p',)]",
        "fingerprint_after": "[]",
        "baseline": "pass",
        "baseline_runs": 2,
        "faulted": "rows that the tenant sees: events: got 4, expected 5",
        "faulted_category": "assertion",
        "findings": (FINDING,),
    }
    return ProofEvent(**entry(**{**fields_of_a_proof, **fields}))


def verdict_of(*records: Record, waivers: tuple[Waiver, ...] = ()) -> Verdict:
    """Derive the verdict on the one criterion."""
    return derive([CRITERION], records, waivers, today=TODAY)[0]


GREEN = (collected(), phase("setup"), observation(), claimed(), phase("call"), phase("teardown"))


def test_check_that_observed_and_claimed_is_a_pass() -> None:
    """Three passed stages, an observation and a claim are a pass without a cause."""
    verdict = verdict_of(*GREEN)
    assert (verdict.outcome, verdict.cause) == (Outcome.PASS, None)
    assert verdict.observations == (DIGEST,)
    assert verdict.duration_s == 1.5


def test_check_that_observed_nothing_is_inconclusive() -> None:
    """A check that passes without an observation is not a pass."""
    verdict = verdict_of(collected(), phase("setup"), claimed(), phase("call"), phase("teardown"))
    assert (verdict.outcome, verdict.cause) == (Outcome.INCONCLUSIVE, Cause.TO_INVESTIGATE)
    assert verdict.message.startswith("observations of the check: got none, expected at least one;")


@pytest.mark.parametrize(
    ("claims", "early"),
    [
        ([], False),
        ([{}], True),
        ([{"part": "proof:drop-policy:baseline"}], False),
        ([{"writer": "gw1"}], False),
    ],
    ids=["nothing", "by-a-fixture", "by-a-proof", "by-another-process"],
)
def test_check_that_claimed_nothing_is_inconclusive(
    claims: list[dict[str, str]], early: bool
) -> None:
    """A check that passes without a claim of its own is not a pass, and says what to do."""
    before = [claimed() for _ in claims] if early else []
    stages = [*before, phase("setup"), observation()]
    within = [claimed().model_copy(update=one) for one in claims] if not early else []
    verdict = verdict_of(collected(), *stages, *within, phase("call"), phase("teardown"))
    assert (verdict.outcome, verdict.cause) == (Outcome.INCONCLUSIVE, Cause.TO_INVESTIGATE)
    assert verdict.message.startswith("claims of the check: got none, expected at least one;")
    assert "claim(...)" in verdict.message
    assert roll_up([verdict]).exit_status == 100


def test_premise_alone_is_no_claim() -> None:
    """A premise that holds says that the check could judge, and not that it did."""
    stages = (phase("setup"), observation(), premise(holds=True), phase("call"))
    verdict = verdict_of(collected(), *stages, phase("teardown"))
    assert verdict.outcome is Outcome.INCONCLUSIVE


def premise(*, holds: bool, part: str = "check") -> Record:
    """Return the record of a premise."""
    fields = {"name": "seeded rows", "on": "events", "got": "0", "expected": "3"}
    return PremiseEvent(
        **entry(item=ITEM, criterion="XYZ-01", part=part, relation="equals", holds=holds, **fields)
    )


def test_check_that_passed_in_spite_of_a_premise_is_inconclusive() -> None:
    """A premise that does not hold counts even if the check caught its error; others do not."""
    stages = [phase("setup"), observation(), claimed(), phase("call"), phase("teardown")]
    for part, outcome in (("check", Outcome.INCONCLUSIVE), ("proof:x:faulted", Outcome.PASS)):
        records = [*stages[:2], premise(holds=False, part=part), *stages[2:]]
        assert judge_check(records, item=ITEM).outcome is outcome
    records = [*stages[:2], premise(holds=True), *stages[2:]]
    assert judge_check(records, item=ITEM).outcome is Outcome.PASS


def test_observation_of_a_fixture_does_not_count_for_the_check() -> None:
    """A check whose call observed nothing is inconclusive, even if its set-up did."""
    verdict = verdict_of(
        collected(), observation(), phase("setup"), claimed(), phase("call"), phase("teardown")
    )
    assert verdict.message.startswith("observations of the check: got none")


def test_check_without_a_clean_up_is_not_checked() -> None:
    """A process that died after the call leaves no pass."""
    assert verdict_of(*GREEN[:-1]).outcome is Outcome.NOTCHECKED


def test_failure_is_not_replaced_by_a_later_pass() -> None:
    """A check that is run again until it passes still fails."""
    failed = (collected(), phase("setup"), phase("call", "assertion", "no rows"), phase("teardown"))
    again = (phase("setup"), observation(), claimed(), phase("call"), phase("teardown"))
    assert verdict_of(*failed, *again).outcome is Outcome.FAIL


def test_check_that_ran_twice_is_a_defect_of_the_harness() -> None:
    """Two passes of one check are a defect, because one run is expected."""
    again = (phase("setup"), observation(), claimed(), phase("call"), phase("teardown"))
    verdict = verdict_of(*GREEN, *again)
    assert (verdict.outcome, verdict.cause) == (Outcome.ERROR, Cause.HARNESS_DEFECT)


def test_proof_whose_clean_up_broke_or_that_ran_twice_is_void() -> None:
    """A proof with a broken clean-up or a second run does not count, despite its record."""
    declared = collected(falsifiers=("drop-policy",))
    broke = phase("teardown", "other", "no end", part="proof:drop-policy")
    for records, message in (((proof(), broke), "no end"), ((proof(), proof()), "ran 2 times")):
        verdict = verdict_of(declared, *GREEN[1:], *claims_of_proof(), *records)
        assert verdict.falsification is Falsification.VOID
        assert message in verdict.proofs[0].message
    passed = phase("call", part="proof:drop-policy")
    fine = verdict_of(declared, *GREEN[1:], *claims_of_proof(), proof(), passed)
    assert fine.falsification is Falsification.PROVEN


@pytest.mark.parametrize("step", ["baseline", "baseline-again"])
def test_proof_whose_baseline_claimed_nothing_or_what_is_false_is_void(step: str) -> None:
    """A baseline that is recorded as green is not believed without its claims in the journal."""
    declared = collected(falsifiers=("drop-policy",))
    part = f"proof:drop-policy:{step}"
    others = [one for one in claims_of_proof() if one.model_dump()["part"] != part]
    false = claimed(part=part, holds=False)
    for claims, message in ((others, "got none"), ([*others, false], "it has a finding")):
        verdict = verdict_of(declared, *GREEN[1:], *claims, proof())
        assert verdict.falsification is Falsification.VOID
        assert f"its {step} is recorded as green" in verdict.proofs[0].message
        assert message in verdict.proofs[0].message


def test_observation_of_a_proof_does_not_count_for_the_check() -> None:
    """An observation on a proof's copy is not evidence for the check itself."""
    seen = observation().model_copy(update={"part": "proof:drop-policy:baseline"})
    stages = (phase("setup"), seen, claimed(), phase("call"), phase("teardown"))
    assert verdict_of(collected(), *stages).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("when", "category", "outcome", "cause"),
    [
        ("setup", "assertion", Outcome.ERROR, Cause.HARNESS_DEFECT),
        ("setup", "other", Outcome.ERROR, Cause.HARNESS_DEFECT),
        ("setup", "environment", Outcome.ERROR, Cause.ENVIRONMENT_PROBLEM),
        ("setup", "ability", Outcome.NOTCHECKED, Cause.ENVIRONMENT_PROBLEM),
        ("call", "ability", Outcome.NOTCHECKED, Cause.ENVIRONMENT_PROBLEM),
        ("setup", "notready", Outcome.ERROR, Cause.TO_INVESTIGATE),
        ("setup", "notapplicable", Outcome.NOTAPPLICABLE, None),
        ("setup", "notdescribed", Outcome.NOTDESCRIBED, None),
        ("call", "assertion", Outcome.FAIL, Cause.GATE_VIOLATION),
        ("call", "other", Outcome.ERROR, Cause.HARNESS_DEFECT),
        ("call", "harness", Outcome.ERROR, Cause.HARNESS_DEFECT),
        ("call", "environment", Outcome.ERROR, Cause.ENVIRONMENT_PROBLEM),
        ("call", "inconclusive", Outcome.INCONCLUSIVE, Cause.TO_INVESTIGATE),
        ("call", "limit", Outcome.INCONCLUSIVE, Cause.TO_INVESTIGATE),
        ("call", "notapplicable", Outcome.NOTAPPLICABLE, None),
        ("call", "notdescribed", Outcome.NOTDESCRIBED, None),
        ("teardown", "assertion", Outcome.ERROR, Cause.HARNESS_DEFECT),
    ],
)
def test_exception_is_judged_by_stage_and_category(
    when: str, category: str, outcome: Outcome, cause: Cause | None
) -> None:
    """Only an assertion in the call is a fail; stage and category decide the other cases."""
    earlier = {"setup": (), "call": ("setup",), "teardown": ("setup", "call")}[when]
    phases = [phase(name) for name in earlier] + [phase(when, category, "why")]
    verdict = verdict_of(collected(), observation(), *phases)
    assert (verdict.outcome, verdict.cause) == (outcome, cause)
    assert "why" in verdict.message


def test_failure_while_the_environment_is_away_is_an_environment_problem() -> None:
    """An assertion that failed without the server does not blame the system."""
    verdict = verdict_of(
        collected(), phase("setup"), phase("call", "assertion", "no rows"), state("away")
    )
    assert (verdict.outcome, verdict.cause) == (Outcome.ERROR, Cause.ENVIRONMENT_PROBLEM)


def test_failure_while_the_environment_answers_is_a_gate_violation() -> None:
    """The same assertion with a running server blames the system."""
    verdict = verdict_of(
        collected(), phase("setup"), phase("call", "assertion", "no rows"), state("answers")
    )
    assert (verdict.outcome, verdict.cause) == (Outcome.FAIL, Cause.GATE_VIOLATION)


def test_check_without_a_call_is_not_checked() -> None:
    """A check that was set up but never called did not finish."""
    assert judge_check([phase("setup")], item=ITEM).outcome is Outcome.NOTCHECKED
    assert judge_check([], item=ITEM).outcome is Outcome.NOTCHECKED


def test_check_outside_the_selection_is_not_selected() -> None:
    """A criterion outside the selection is neither passed nor failed."""
    assert verdict_of(collected(selected=False)).outcome is Outcome.NOTSELECTED


def test_proof_is_proven_by_the_predicted_finding() -> None:
    """A check that passed before, and then has a finding with the predicted text, is proven."""
    assert judge_proof(proof())[0] is Falsification.PROVEN


@pytest.mark.parametrize(
    ("fields", "result", "message"),
    [
        ({"baseline": "assertion: x"}, Falsification.VOID, "baseline was not green"),
        ({"fingerprint_after": "[('p',)]"}, Falsification.VOID, "did not land"),
        ({"fingerprint_after": None}, Falsification.VOID, "did not land"),
        ({"refusal": "permission denied"}, Falsification.VOID, "could not be injected: perm"),
        ({"faulted": "pass"}, Falsification.BLIND, "stayed green"),
        ({"faulted_category": "other"}, Falsification.VOID, "red by other"),
        ({"faulted_category": "limit"}, Falsification.VOID, "red by limit"),
        ({"expected": "got 3"}, Falsification.VOID, "red for another reason"),
        ({"findings": ()}, Falsification.VOID, "red by an assertion without a claim"),
    ],
)
def test_proof_does_not_count_if_a_step_is_missing(
    fields: dict[str, Any], result: Falsification, message: str
) -> None:
    """A proof with a missing or wrong step is void, or blind if the check passed."""
    got, shown = judge_proof(proof(**fields))
    assert got is result
    assert message in shown


def test_proof_that_never_ran_is_unproven_and_one_that_broke_is_void() -> None:
    """A missing proof and a broken one have different results."""
    assert judge_proof(None)[0] is Falsification.UNPROVEN
    assert judge_proof(None, broken="no copy")[0] is Falsification.VOID
    broke = phase("setup", "environment", "no copy", part="proof:drop-policy")
    verdict = verdict_of(collected(falsifiers=("drop-policy",)), *GREEN[1:], broke)
    assert verdict.falsification is Falsification.VOID
    assert "no copy" in verdict.proofs[0].message


def test_falsification_of_a_criterion_is_its_worst_proof() -> None:
    """One blind falsifier overrides any number of proven ones."""
    proven, blind, void = Falsification.PROVEN, Falsification.BLIND, Falsification.VOID
    assert worst_falsification([proven, blind, void]) is blind
    assert worst_falsification([proven, void]) is void
    assert worst_falsification([]) is Falsification.UNPROVEN


def waiver(expires: str) -> Waiver:
    """Return a waiver of the one criterion."""
    return Waiver(criterion="XYZ-01", reason="known and planned", owner="ops", expires=expires)


FAILED = (collected(), phase("setup"), phase("call", "assertion", "broken"), phase("teardown"))


def test_waiver_covers_a_fail_until_its_last_day() -> None:
    """A waiver is valid on its last day, and not on the day after."""
    covered = verdict_of(*FAILED, waivers=(waiver("2026-01-01"),))
    assert covered.disposition is Disposition.WAIVED
    assert roll_up([covered]).exit_status == 100  # a gate without a single pass
    expired = verdict_of(*FAILED, waivers=(waiver("2025-12-31"),))
    assert expired.disposition is Disposition.WAIVER_EXPIRED
    assert roll_up([expired]).exit_status == 1


def test_waiver_does_not_cover_an_error() -> None:
    """Only a fail can be waived."""
    records = (collected(), phase("setup", "other", "broken"))
    verdict = verdict_of(*records, waivers=(waiver("2030-01-01"),))
    assert verdict.disposition is Disposition.NONE
    assert roll_up([verdict]).exit_status == 103


def verdict(outcome: Outcome, cause: Cause | None = None, **fields: Any) -> Verdict:
    """Return a verdict on the one criterion."""
    fields_of_a_verdict = {
        "message": "m",
        "duration_s": 0.0,
        "observations": (),
        "captures": (),
        "falsifiers": 0,
        "proofs": (),
        **fields,
    }
    return Verdict(
        **CRITERION.model_dump(exclude={"basis_of"}),
        outcome=outcome,
        cause=cause,
        **fields_of_a_verdict,
    )


PASSED = verdict(Outcome.PASS, falsification=Falsification.PROVEN, falsifiers=1)


def test_run_with_only_proven_passes_is_released() -> None:
    """The run is released with exit status 0 and without a reason against it."""
    rolled = roll_up([PASSED])
    assert (rolled.result, rolled.exit_status, rolled.reasons) == (Result.RELEASED, 0, ())


@pytest.mark.parametrize(
    ("other", "status"),
    [
        (verdict(Outcome.FAIL, Cause.GATE_VIOLATION), 1),
        (verdict(Outcome.ERROR, Cause.HARNESS_DEFECT), 103),
        (verdict(Outcome.ERROR, Cause.ENVIRONMENT_PROBLEM), 102),
        (verdict(Outcome.ERROR, Cause.TO_INVESTIGATE), 100),
        (verdict(Outcome.INCONCLUSIVE, Cause.TO_INVESTIGATE), 100),
        (verdict(Outcome.NOTCHECKED, Cause.TO_INVESTIGATE), 100),
        (verdict(Outcome.NOTCHECKED, Cause.ENVIRONMENT_PROBLEM), 102),
        (verdict(Outcome.NOTSELECTED), 100),
        (verdict(Outcome.NOTDESCRIBED), 100),
        (verdict(Outcome.PASS, falsification=Falsification.BLIND), 100),
        (verdict(Outcome.PASS, falsification=Falsification.VOID), 100),
        (verdict(Outcome.PASS, falsification=Falsification.UNPROVEN, falsifiers=1), 100),
        (verdict(Outcome.PASS, falsification=Falsification.UNPROVEN, falsifiers=0), 100),
        (verdict(Outcome.NOTAPPLICABLE), 0),
    ],
)
def test_one_obstacle_sets_the_exit_status(other: Verdict, status: int) -> None:
    """Each obstacle has its exit status, and only obstacles have a reason."""
    rolled = roll_up([PASSED, other])
    assert rolled.exit_status == status
    assert bool(rolled.reasons) == bool(status)


def test_worst_obstacle_sets_the_exit_status() -> None:
    """The order is: harness defect, environment problem, fail, incomplete."""
    fail = verdict(Outcome.FAIL, Cause.GATE_VIOLATION)
    away = verdict(Outcome.ERROR, Cause.ENVIRONMENT_PROBLEM)
    missing = verdict(Outcome.NOTCHECKED, Cause.TO_INVESTIGATE)
    assert roll_up([PASSED, missing, fail]).exit_status == 1
    assert roll_up([PASSED, fail, away]).exit_status == 102
    assert roll_up([PASSED, fail, away], defects=["x"]).exit_status == 103
    assert roll_up([PASSED, fail, away], defects=["x"], pytest_status=2).exit_status == 2


def test_gate_without_a_single_pass_is_not_released() -> None:
    """A gate with a criterion that applies needs a pass, whatever its other criteria are."""
    other = PASSED.model_copy(update={"gate": "other"})
    waived = verdict(Outcome.FAIL, Cause.GATE_VIOLATION, disposition=Disposition.WAIVED)
    rolled = roll_up([other, waived, verdict(Outcome.NOTAPPLICABLE)])
    assert rolled.exit_status == 100
    assert "no criterion passed" in rolled.reasons[0]


def test_gate_of_which_no_criterion_applies_blocks_nothing() -> None:
    """The rest of the run is released; a run of which nothing applies is not."""
    nothing = verdict(Outcome.NOTAPPLICABLE)
    other = PASSED.model_copy(update={"gate": "other"})
    assert roll_up([other, nothing]).exit_status == 0
    assert roll_up([nothing], whole=False).exit_status == 0
    alone = roll_up([nothing])
    assert (alone.result, alone.exit_status) == (Result.BLOCKED, 100)
    assert "no criterion applies" in alone.reasons[0]


def test_run_with_features_that_are_not_described_is_partial() -> None:
    """Where all that was judged is clean, a missing description leaves the run incomplete."""
    lacking = verdict(Outcome.NOTDESCRIBED)
    rolled = roll_up([PASSED, lacking])
    assert (rolled.result, rolled.exit_status) == (Result.PARTIAL, 100)
    failed = verdict(Outcome.FAIL, Cause.GATE_VIOLATION)
    assert roll_up([PASSED, lacking, failed]).result is Result.BLOCKED


def test_empty_catalogue_is_not_released() -> None:
    """A run without criteria shows nothing, so it is not released."""
    assert roll_up([]).exit_status == 100


def test_run_without_falsification_is_partial() -> None:
    """Passing checks alone do not release a run if no proof was requested."""
    bare = verdict(Outcome.PASS, falsifiers=1)
    rolled = roll_up([bare], falsify="none")
    assert (rolled.result, rolled.exit_status) == (Result.PARTIAL, 100)
    assert "no falsification was requested" in rolled.reasons[0]


def test_run_of_some_proofs_is_partial_and_never_released() -> None:
    """Proofs that were not requested give one reason for the whole run."""
    bare = verdict(Outcome.PASS, falsifiers=2)
    rolled = roll_up([PASSED, bare], falsify="some")
    assert (rolled.result, rolled.exit_status) == (Result.PARTIAL, 100)
    assert rolled.reasons == (
        "it is not shown that every check can fail: only some proofs were requested",
    )
    assert roll_up([PASSED], falsify="some").exit_status == 100


def test_check_without_a_falsifier_blocks_a_selection_of_proofs() -> None:
    """A check that names no falsifier blocks a run with any selection of proofs."""
    rolled = roll_up([PASSED, verdict(Outcome.PASS)], falsify="some")
    assert rolled.result is Result.BLOCKED
    assert rolled.reasons[0] == "XYZ-01 unproven: its check names no falsifier"


def test_proofs_of_a_check_without_a_second_run_are_void() -> None:
    """A check that can run only once would fail after any fault, so one proof must run it twice."""
    declared = collected(falsifiers=("drop-policy", "no-force"))
    stories = [proof(baseline_runs=1), proof(falsifier="no-force", baseline_runs=1)]
    records = [*GREEN[1:], *ALL_CLAIMS, *stories]
    verdict = verdict_of(declared, *records)
    assert verdict.falsification is Falsification.VOID
    assert "no proof ran the check twice" in verdict.proofs[0].message
    again = proof(falsifier="no-force", baseline_runs=2)
    fine = verdict_of(declared, *records[:-1], again)
    assert fine.falsification is Falsification.PROVEN


SHARED = {"falsifier": "no-force", "baseline": "not run", "baseline_runs": 0}


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([proof()], {"baseline_of": "drop-policy"}, ""),
        ([proof(shape="a")], {"baseline_of": "drop-policy", "shape": "a"}, ""),
        ([], {"baseline_of": "drop-policy"}, "that of drop-policy, which has no whole record"),
        ([proof()], {}, "baseline was not green: not run"),
        ([proof()], {"baseline_of": "no-force"}, "which has none of its own"),
        ([proof()], {"baseline_of": "drop-policy", "shape": "b"}, "on another kind of copy"),
        ([proof(baseline="assertion: x")], {"baseline_of": "drop-policy"}, "not green: assertion"),
        ([proof(), proof()], {"baseline_of": "drop-policy"}, "no whole record"),
        ([proof(criterion="XYZ-02")], {"baseline_of": "drop-policy"}, "no whole record"),
    ],
    ids=[
        "shared",
        "same-shape",
        "none",
        "not-named",
        "its-own-name",
        "other-shape",
        "red",
        "twice",
        "other-criterion",
    ],
)
def test_shared_baseline_counts_only_if_it_was_green_on_the_same_kind_of_copy(
    first: list[ProofEvent], second: dict[str, Any], message: str
) -> None:
    """A proof without a baseline of its own needs one of the same check, whole and green."""
    declared = collected(falsifiers=("drop-policy", "no-force"))
    records = [declared, *GREEN[1:], *ALL_CLAIMS, *first, proof(**{**SHARED, **second})]
    own = verdict_of(*records).proofs[1]
    assert own.result is (Falsification.VOID if message else Falsification.PROVEN), own.message
    assert message in own.message
    assert own.baseline_of == second.get("baseline_of", "")


def test_shared_baseline_that_lost_a_record_does_not_count() -> None:
    """A proof that may have lost a record is no ground for another one."""
    declared = collected(falsifiers=("drop-policy", "no-force"))
    items = {"drop-policy": f"{ITEM}[proof-drop-policy]", "no-force": f"{ITEM}[proof-no-force]"}
    lost = RunEvent(
        **entry(
            event="lost",
            data={"file": "main", "line": 1, "reason": "x", "items": [items["drop-policy"]]},
        )
    )
    shared = proof(**SHARED, baseline_of="drop-policy", item=items["no-force"])
    records = [declared, *GREEN[1:], *ALL_CLAIMS, proof(item=items["drop-policy"]), shared]
    assert verdict_of(*records).proofs[1].result is Falsification.PROVEN
    assert "no whole record" in verdict_of(*records, lost).proofs[1].message


def test_clean_selection_is_partial_and_another_is_blocked() -> None:
    """A selection that is clean is partial; one with a fail is blocked."""
    left_out = verdict(Outcome.NOTSELECTED)
    assert roll_up([PASSED, left_out]).result is Result.PARTIAL
    fail = verdict(Outcome.FAIL, Cause.GATE_VIOLATION)
    assert roll_up([PASSED, fail, left_out]).result is Result.BLOCKED
    assert roll_up([left_out]).result is Result.BLOCKED


# --- criteria that build on others ---------------------------------------------------------------

BASIS = CRITERION.model_copy(update={"id": "XYZ-00", "basis_of": "ping"})


def on_worker(of_basis: str, of_other: str, needs: tuple[str, ...] = ("ping.fail",)) -> Verdict:
    """Derive the verdict on a criterion that needs a ping, from how two checks ended.

    Args:
        of_basis: the category of the exception of the criterion about the ping.
        of_other: that of the other criterion.
        needs: the needs of the other criterion.

    """
    bindings = {
        "XYZ-00": {"item": "basis", "selected": True, "falsifiers": []},
        "XYZ-01": {"item": ITEM, "selected": True, "falsifiers": [], "needs": list(needs)},
    }
    records: list[Record] = [RunEvent(**entry(event="collected", data=bindings))]
    for item, category in (("basis", of_basis), (ITEM, of_other)):
        for when in ("setup", "call", "teardown"):
            ended = phase(when, category if when == "call" else "none", "no answer to a ping")
            records.append(ended.model_copy(update={"item": item}))
            if when == "setup":
                records.append(observation().model_copy(update={"item": item}))
                records.append(claimed().model_copy(update={"item": item}))
    return derive([BASIS, CRITERION], records, (), today=TODAY)[1]


@pytest.mark.parametrize("of_basis", ["assertion", "notready"])
@pytest.mark.parametrize("of_other", ["assertion", "notready", "premise"])
def test_criterion_is_not_judged_when_its_basis_failed(of_basis: str, of_other: str) -> None:
    """Without a worker that answers, the red of other criteria is one finding, not many."""
    verdict = on_worker(of_basis, of_other)
    assert (verdict.outcome, verdict.cause) == (Outcome.INCONCLUSIVE, Cause.TO_INVESTIGATE)
    assert verdict.message == "not judged: XYZ-00 failed; then: no answer to a ping"


@pytest.mark.parametrize(
    ("of_basis", "of_other", "needs", "outcome"),
    [
        ("none", "assertion", ("ping",), Outcome.FAIL),
        ("premise", "assertion", ("ping",), Outcome.FAIL),
        ("assertion", "assertion", ("database",), Outcome.FAIL),
        ("assertion", "assertion", ("pings",), Outcome.FAIL),
        ("assertion", "none", ("ping",), Outcome.PASS),
        ("assertion", "other", ("ping",), Outcome.ERROR),
        ("assertion", "environment", ("ping",), Outcome.ERROR),
    ],
)
def test_criterion_is_judged_by_itself(
    of_basis: str, of_other: str, needs: tuple[str, ...], outcome: Outcome
) -> None:
    """A basis that holds, other needs, a pass, and a defect of the harness change nothing."""
    assert on_worker(of_basis, of_other, needs).outcome is outcome
