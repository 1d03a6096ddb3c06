"""Claims: relations, predictions, and their part in verdicts and proofs."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from pydantic import JsonValue

from gateproof_evidence.judging.claim import (
    claim_text,
    false_claims,
    findings_text,
    is_false,
    predicted_finding,
    prediction_text,
    relation_holds,
)
from gateproof_evidence.judging.proof import judge_proof
from gateproof_evidence.judging.verdict import derive, judge_check
from gateproof_evidence.model import (
    Claim,
    ClaimEvent,
    Criterion,
    Falsification,
    Observation,
    Outcome,
    PhaseEvent,
    ProofEvent,
    Record,
    Relation,
    RunEvent,
    Severity,
    StateEvent,
)

ITEM = "gates/x/test_x.py::test_x"
DIGEST = f"sha256:{'a' * 64}"
ENTRY: dict[str, Any] = {"writer": "main", "seq": 0, "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}
OF_CHECK = ENTRY | {"item": ITEM, "criterion": "X-1", "part": "check"}


CRITERION = Criterion(
    id="X-1",
    gate="x",
    phase="P",
    severity=Severity.LOW,
    statement="Each role sees its rows.",
    source="test",
)


def claim(*, on: str = "events", got: Any = 0, expected: Any = 3, holds: bool = False) -> Claim:
    """Return a claim about the rows that a role sees."""
    return Claim(
        name="rows that the role sees",
        on=on,
        got=json.dumps(got),
        relation="equals",
        expected=json.dumps(expected),
        holds=holds,
    )


def event(
    got: str, expected: str, *, holds: bool, relation: Relation = "equals", part: str = "check"
) -> ClaimEvent:
    """Return the record of a claim."""
    values: dict[str, Any] = {"got": got, "relation": relation, "expected": expected}
    return ClaimEvent(
        **OF_CHECK | values | {"name": "rows", "on": "t", "holds": holds, "part": part, "seq": 1},
    )


def stages(*, call: str = "none", message: str = "") -> tuple[Record, ...]:
    """Return the records of a check whose call ended with an exception of a category."""
    raised: dict[str, Any] = {"result": "raised", "category": call, "message": message}
    passed: dict[str, Any] = {"result": "passed"}
    return (
        PhaseEvent(**OF_CHECK, when="setup", result="passed", duration_s=1),
        event("1", "1", holds=True),
        Observation(
            **OF_CHECK | {"seq": 1},
            probe="sql",
            summary="SELECT",
            data={},
            transcript="transcripts/x/XYZ-01.txt",
            line=1,
            start=0,
            size=0,
            digest=DIGEST,
        ),
        PhaseEvent(
            **OF_CHECK | {"seq": 2},
            when="call",
            duration_s=1,
            **(raised if call != "none" else passed),
        ),
        PhaseEvent(**OF_CHECK | {"seq": 3}, when="teardown", result="passed", duration_s=1),
    )


@pytest.mark.parametrize(
    ("relation", "got", "expected", "holds"),
    [
        ("equals", {"a": [1, None]}, {"a": [1, None]}, True),
        ("equals", [1, 2], [2, 1], False),
        ("equals", 1, 1.0, True),
        ("equals", True, 1, False),
        ("equals", 0, False, False),
        ("differs", 1, 2, True),
        ("differs", "x", "x", False),
        ("differs", True, 1, True),
        ("one_of", 2, [1, 2], True),
        ("one_of", 3, [1, 2], False),
        ("one_of", True, [1, 2], False),
        ("one_of", [1], [[1], [2]], True),
        ("one_of", "a", [], False),
        ("at_least", 2, 2, True),
        ("at_least", 1.9, 2, False),
        ("at_most", 2, 2, True),
        ("at_most", 2.1, 2, False),
        ("contains", ["a", "b"], "b", True),
        ("contains", "abc", "bd", False),
        ("lacks", {"a": 1}, "b", True),
        ("lacks", "abc", "b", False),
        ("matches", "2026-11-29T10:00:00Z", r"Z$", True),
        ("matches", "abc", "^b", False),
    ],
)
def test_relation_holds_or_not(relation: Relation, got: Any, expected: Any, holds: bool) -> None:
    """Each relation has values between which it holds, and ones between which it does not."""
    assert relation_holds(relation, got, expected) is holds


@pytest.mark.parametrize(
    ("relation", "got", "expected"),
    [
        ("one_of", "a", "abc"),
        ("one_of", 1, 1),
        ("at_least", "3", 2),
        ("at_most", True, 2),
        ("at_most", None, 2),
        ("contains", 5, 2),
        ("contains", "abc", 2),
        ("matches", 5, "5"),
    ],
)
def test_relation_refuses_values_that_it_cannot_compare(
    relation: Relation, got: Any, expected: Any
) -> None:
    """Values without such a relation are an error and not a result."""
    with pytest.raises(TypeError):
        relation_holds(relation, got, expected)


@pytest.mark.parametrize(
    ("got", "expected", "holds", "false"),
    [
        ("3", "3", True, False),
        ("0", "3", False, True),
        ("0", "3", True, True),  # the record says that it holds, and its values say otherwise
        ('"[redacted:x]"', '"[redacted:x]"', False, True),  # differed before the redaction
        ("[redacted", "3", True, True),
    ],
)
def test_claim_is_judged_again_from_its_record(
    got: str, expected: str, holds: bool, false: bool
) -> None:
    """A claim is false if its values say so, whatever its record says, or if it was recorded so."""
    assert is_false(event(got, expected, holds=holds)) is false


@pytest.mark.parametrize(
    ("relation", "got", "expected"),
    [
        pytest.param("equals", "[" * 200_000, "3", id="nested"),
        pytest.param("matches", '"a"', '"a{99999999999999}"', id="repeated"),
        pytest.param("matches", '"a"', '"("', id="no-expression"),
    ],
)
def test_claim_with_values_that_python_cannot_read_is_false(
    relation: Relation, got: str, expected: str
) -> None:
    """A signed journal can have any text: it makes a claim false, and ends no verification."""
    recorded = event(got, expected, holds=True).model_copy(update={"relation": relation})
    (found,) = false_claims([recorded])
    assert got.strip('"') in claim_text(found)


def test_claim_reads_as_one_line() -> None:
    """A line has name, object, got and expected; several findings are the first and a count."""
    first = "rows that the role sees: events: got 0, expected 3"
    assert claim_text(claim()) == first
    assert findings_text([claim()]) == first
    assert findings_text([claim(), claim(on="jobs")]) == f"{first} (and 1 more finding)"
    named = claim().model_copy(update={"on": "", "relation": "contains", "got": '["a", "b"]'})
    assert claim_text(named) == "rows that the role sees: got a, b, expected one with 3"
    values = {"got": "5", "relation": "one_of", "expected": "[200, 204]"}
    assert claim_text(named.model_copy(update=values)).endswith("got 5, expected one of 200, 204")


# --- verdicts -------------------------------------------------------------------------------------


def test_false_claim_fails_the_check_that_passed() -> None:
    """A check whose record has a false claim fails, even if nothing was raised."""
    found = judge_check([*stages(), event("0", "3", holds=True)], item=ITEM)
    assert (found.outcome, found.message) == (Outcome.FAIL, "rows: t: got 0, expected 3")
    assert judge_check([*stages(), event("3", "3", holds=True)], item=ITEM).outcome is Outcome.PASS


def test_false_claim_of_a_proof_does_not_fail_the_check() -> None:
    """Only the claims of the check itself count for its verdict."""
    other = event("0", "3", holds=False, part="proof:x:faulted")
    assert judge_check([*stages(), other], item=ITEM).outcome is Outcome.PASS


@pytest.mark.parametrize("category", ["premise", "inconclusive", "other", "harness", "limit"])
def test_exception_after_a_false_claim_leaves_a_fail(category: str) -> None:
    """A premise or an error that follows a finding does not take it back."""
    false = event("0", "3", holds=False)
    found = judge_check([*stages(call=category, message="no rows"), false], item=ITEM)
    assert (found.outcome, found.message) == (Outcome.FAIL, "no rows")
    held = event("3", "3", holds=True)
    assert judge_check([*stages(call=category), held], item=ITEM).outcome is not Outcome.FAIL


def test_false_claim_on_a_broken_environment_is_no_finding() -> None:
    """A claim that is false because the server is away blames the environment."""
    away = StateEvent(**ENTRY, item=ITEM, part="check", environment="away")
    records = [*stages(call="assertion", message="0 rows"), event("0", "3", holds=False), away]
    assert judge_check(records, item=ITEM).outcome is Outcome.ERROR


def test_verdict_lists_the_claims_of_the_check_only() -> None:
    """A verdict has what its check claimed, those that hold too, judged again."""
    bound: JsonValue = {"item": ITEM, "selected": True, "falsifiers": []}
    collected = RunEvent(**ENTRY, event="collected", data={"X-1": bound})
    claims = (
        event("3", "3", holds=True),
        event("0", "3", holds=True),
        event("1", "1", holds=True, part="proof:x:baseline"),
    )
    [verdict] = derive([CRITERION], [collected, *stages(), *claims], (), today=dt.date(2026, 1, 1))
    seen = [(one.got, one.holds) for one in verdict.claims]
    assert seen == [("1", True), ("3", True), ("0", False)]


# --- predictions ----------------------------------------------------------------------------------


def proof(*findings: Claim, **fields: Any) -> ProofEvent:
    """Return the record of a proof that landed and had these findings."""
    values: dict[str, Any] = {
        "item": "t",
        "criterion": "X-1",
        "falsifier": "drop-policies",
        "fault_kind": "sql",
        "fault": "DROP POLICY",
        "expected": "",
        "expected_claim": "rows that the role sees",
        "expected_on": "app/events/A",
        "fingerprint_before": "a",
        "fingerprint_after": "b",
        "baseline": "pass",
        "baseline_runs": 2,
        "faulted": "rows that the role sees: app/events/A: got 0, expected 3",
        "faulted_category": "assertion",
        "findings": findings,
    }
    return ProofEvent(**ENTRY | values | fields)


@pytest.mark.parametrize(
    ("fields", "on", "found"),
    [
        ({}, "app/events/A", True),
        ({}, "app/events/B", False),
        ({"expected": "got 0"}, "app/events/A", True),
        ({"expected": "got 5"}, "app/events/A", False),
        ({"expected_claim": "rows"}, "app/events/A", False),
        ({"expected_on": "app/*", "target": "events"}, "app/events/A", True),
        ({"expected_on": "app/*", "target": "events"}, "app/old_events/A", False),
        ({"expected_on": "app/*", "target": "events"}, "app/events_2/A", False),
        ({"expected_on": "app/*"}, "other/app/events", False),
        ({"expected_on": "a.p/events/A"}, "app/events/A", False),
        ({"expected_on": "", "target": ""}, "app/events/A", False),
        ({"expected_claim": "", "expected_on": "", "expected": "A: got 0"}, "app/events/A", True),
        ({"expected_claim": "", "expected_on": "", "expected": "A: got 5"}, "app/events/A", False),
        (
            {"expected_claim": "", "expected_on": "", "expected": "got 0", "target": "old"},
            "app/events/A",
            False,
        ),
    ],
)
def test_prediction_names_claim_object_values_and_target(
    fields: dict[str, Any], on: str, found: bool
) -> None:
    """A finding is the predicted one only if each part of the prediction agrees with it."""
    story = proof(claim(on="x/y/z"), claim(on=on), **fields)
    assert (predicted_finding(story) is not None) is found
    assert (judge_proof(story)[0] is Falsification.PROVEN) is found


def test_proof_reports_the_predicted_finding_or_the_nearest_one() -> None:
    """A proven proof has the finding as its message; a void one what was expected and what came."""
    story = proof(claim(on="x"), claim(on="app/events/A"))
    assert judge_proof(story)[1] == "rows that the role sees: app/events/A: got 0, expected 3"
    result, message = judge_proof(proof(claim(on="x"), expected="got 5"))
    assert result is Falsification.VOID
    assert message == (
        "red for another reason: expected the finding "
        "'rows that the role sees: app/events/A: got 5', got rows that the role sees: x: got 0, "
        "expected 3"
    )
    assert prediction_text(proof(expected="got 5")) == (
        "rows that the role sees: app/events/A: got 5"
    )


def test_proof_without_a_finding_is_void_though_its_message_agrees() -> None:
    """A bare assertion with the words of the prediction is not the predicted claim."""
    seen = "rows that the role sees: app/events/A: got 0, expected 3"
    for fields in ({}, {"expected_claim": "", "expected_on": "", "expected": "the role sees"}):
        result, message = judge_proof(proof(faulted=seen, **fields))
        assert result is Falsification.VOID
        assert message.startswith("red by an assertion without a claim: expected the finding")
        assert message.endswith(f"got {seen}; state it with claim(...)")


def test_proof_whose_findings_differ_from_the_journal_is_void() -> None:
    """The findings of a proof's record must be the false claims of its faulted run."""
    bound: JsonValue = {"item": ITEM, "selected": True, "falsifiers": ["drop-policies"]}
    collected = RunEvent(**ENTRY, event="collected", data={"X-1": bound})
    finding = claim(on="app/events/A")
    fields = finding.model_dump(exclude={"over"})
    seen = ClaimEvent(**OF_CHECK | fields | {"part": "proof:drop-policies:faulted"})
    before = (
        event("3", "3", holds=True, part="proof:drop-policies:baseline"),
        event("3", "3", holds=True, part="proof:drop-policies:baseline-again"),
    )
    for claims, result in (((seen,), Falsification.PROVEN), ((), Falsification.VOID)):
        records = [collected, *stages(), *before, *claims, proof(finding)]
        [verdict] = derive([CRITERION], records, (), today=dt.date(2026, 1, 1))
        assert verdict.proofs[0].result is result, verdict.proofs[0].message
