"""Judging recorded evidence again: by the values of each statement, not by what its record says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.judging.rejudgement import (
    MARK,
    REDACTED,
    Rejudgement,
    judge_values,
    rejudge,
)
from gateproof_evidence.model import (
    CheckTakenOverEvent,
    Claim,
    ClaimEvent,
    Falsification,
    Outcome,
    PremiseEvent,
    ProofEvent,
    Record,
    Relation,
    Run,
    TakenOverEvent,
    Waiver,
)
from gateproof_evidence.redaction.placeholder import placeholder

JWT, OTHER_JWT = placeholder("jwt"), placeholder("jwt", 2)


def _claim(relation: Relation, got: Any, expected: Any, *, holds: bool) -> Claim:
    return Claim(
        name="rows",
        on="t",
        got=json.dumps(got),
        relation=relation,
        expected=json.dumps(expected),
        holds=holds,
    )


@pytest.mark.parametrize(
    ("relation", "holding", "failing", "expected"),
    [
        pytest.param("equals", 3, 4, 3, id="equals"),
        pytest.param("equals", True, 1, True, id="equals-kind"),
        pytest.param("differs", 4, 3, 3, id="differs"),
        pytest.param("one_of", "b", "c", ["a", "b"], id="one-of"),
        pytest.param("at_least", 3, 2, 3, id="at-least"),
        pytest.param("at_most", 3, 4, 3, id="at-most"),
        pytest.param("contains", ["a", "b"], ["b"], "a", id="contains"),
        pytest.param("lacks", ["b"], ["a", "b"], "a", id="lacks"),
        pytest.param("matches", "id 17", "id x", r"\d+", id="matches"),
    ],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_statement_is_judged_by_its_values_alone(
    relation: Relation, holding: Any, failing: Any, expected: Any, *, recorded: bool
) -> None:
    """Each relation is computed again; the record of an unredacted statement is not read."""
    assert judge_values(_claim(relation, holding, expected, holds=recorded)) == (True, "")
    assert judge_values(_claim(relation, failing, expected, holds=recorded)) == (False, "")


@pytest.mark.parametrize(
    ("relation", "got", "expected"),
    [
        pytest.param("at_least", "3", 3, id="text-and-number"),
        pytest.param("matches", "x", "(", id="no-expression"),
        pytest.param("contains", 3, "x", id="no-list"),
        pytest.param("one_of", 3, 3, id="no-list-of-values"),
    ],
)
def test_statement_whose_values_have_no_such_relation_is_false(
    relation: Relation, got: Any, expected: Any
) -> None:
    """Values that cannot be compared do not show that a statement holds; the reason is given."""
    holds, why = judge_values(_claim(relation, got, expected, holds=True))
    assert not holds
    assert why.startswith(f"cannot be compared by {relation}: ")


@pytest.mark.parametrize("got", ["[1, ", "[" * 200_000], ids=["cut-off", "nested"])
def test_statement_whose_values_are_no_json_is_false(got: str) -> None:
    """A record that is cut off, or is nested deeper than Python reads, is no evidence."""
    claim = _claim("equals", 3, 3, holds=True).model_copy(update={"got": got})
    holds, why = judge_values(claim)
    assert not holds
    assert why.startswith("cannot be compared by equals: ")


@pytest.mark.parametrize(
    ("relation", "got", "expected", "recorded", "judged"),
    [
        pytest.param("equals", JWT, JWT, True, (True, ""), id="equal"),
        pytest.param("equals", JWT, OTHER_JWT, False, (False, ""), id="unequal"),
        pytest.param("equals", JWT, OTHER_JWT, True, (False, ""), id="unequal-recorded-as-true"),
        pytest.param("equals", JWT, JWT, False, (False, REDACTED), id="false-before-redaction"),
        pytest.param("differs", JWT, OTHER_JWT, True, (True, ""), id="different"),
        pytest.param("differs", JWT, JWT, True, (False, ""), id="not-different"),
        pytest.param("one_of", JWT, ["a", JWT], True, (True, ""), id="one-of"),
        pytest.param("one_of", OTHER_JWT, ["a", JWT], True, (False, ""), id="none-of"),
        pytest.param("contains", f"a {JWT}", "a", True, (True, REDACTED), id="contains"),
        pytest.param("contains", f"a {JWT}", "b", False, (False, REDACTED), id="contains-not"),
        pytest.param("contains", f"a {JWT}", "b", True, (False, ""), id="contains-forged"),
        pytest.param("lacks", f"a {JWT}", "b", True, (True, REDACTED), id="lacks"),
        pytest.param("lacks", f"a {JWT}", "b", False, (False, REDACTED), id="lacks-not"),
        pytest.param("matches", JWT, "^ey", False, (False, REDACTED), id="matches-not"),
        pytest.param("matches", f"a {JWT}", "^a", True, (True, REDACTED), id="matches"),
        pytest.param("at_least", JWT, 3, False, (False, REDACTED), id="at-least"),
    ],
)
def test_redacted_statement_is_judged_as_far_as_its_placeholders_allow(
    relation: Relation, got: Any, expected: Any, recorded: bool, judged: tuple[bool, str]
) -> None:
    """Placeholders keep equality; what was false before redaction stays false."""
    assert judge_values(_claim(relation, got, expected, holds=recorded)) == judged


def test_every_placeholder_has_the_mark() -> None:
    """The mark by which a redacted value is recognised is that of the redaction."""
    assert all(one.startswith(MARK) for one in (JWT, OTHER_JWT))


# --- a run -----------------------------------------------------------------------------------


class Judge:
    """Judges the staged run again with changed records."""

    def __init__(
        self, run: Run, catalogue: Catalogue, records: Sequence[Record], waivers: tuple[Waiver, ...]
    ) -> None:
        self.run = run
        self.records = records
        self._catalogue = catalogue
        self._waivers = waivers

    def __call__(self, records: Sequence[Record] | None = None) -> Rejudgement:
        """Judge again; without records, those of the run."""
        given = self.records if records is None else records
        return rejudge(self.run, self._catalogue, given, self._waivers)

    def changed(self, criterion: str, part: str, **update: Any) -> Sequence[Record]:
        """Return the records with changed claims of a criterion in a part."""
        return [
            one.model_copy(update=update)
            if isinstance(one, ClaimEvent) and (one.criterion, one.part) == (criterion, part)
            else one
            for one in self.records
        ]


@pytest.fixture
def judge(
    run: Run, catalogue: Catalogue, records: tuple[Record, ...], waivers: tuple[Waiver, ...]
) -> Judge:
    """Provide the staged run, to be judged again."""
    return Judge(run, catalogue, records, waivers)


def _reported(found: Rejudgement) -> list[tuple[str, str, str, str]]:
    return [(one.criterion, one.what, one.recorded, one.again) for one in found.disagreements]


def test_rejudge_finds_no_difference_in_an_honest_run(judge: Judge) -> None:
    """A run recorded what its journal gives, and every statement is judged."""
    found = judge()
    assert not found.differs
    assert found.again == judge.run
    kinds = {one.kind for one in found.statements}
    assert kinds == {"claim", "finding"}
    assert found.unjudged == ()


def test_rejudge_fails_a_check_whose_observed_value_breaks_its_claim(judge: Judge) -> None:
    """The claim is recorded as true, and its values say otherwise: its criterion alone fails."""
    found = judge(judge.changed("RLS-01", "check", got="4"))
    assert _reported(found) == [("RLS-01", "outcome", "pass", "fail")]
    (one,) = found.disagreements[0].statements
    assert (one.claim.got, one.claim.holds, one.holds) == ("4", True, False)
    assert found.contradicted == (one,)
    assert found.others == ("reasons",)


def test_rejudge_voids_a_proof_whose_finding_holds(judge: Judge) -> None:
    """A finding whose values satisfy its relation is none, whatever its record says."""
    holding = {"got": '"0"', "expected": '"0"'}
    records = [
        one.model_copy(
            update={"findings": tuple(f.model_copy(update=holding) for f in one.findings)}
        )
        if isinstance(one, ProofEvent)
        else one.model_copy(update=holding)
        if isinstance(one, ClaimEvent) and not one.holds
        else one
        for one in judge.records
    ]
    found = judge(records)
    assert _reported(found) == [("RLS-01", "proof drop-policy", "proven", "void")]
    assert "red by an assertion without a claim" in found.disagreements[0].message
    assert {one.kind for one in found.disagreements[0].statements} == {"claim", "finding"}


def test_rejudge_voids_a_proof_whose_baseline_has_a_false_claim(judge: Judge) -> None:
    """The claims of every step of a proof are judged again."""
    found = judge(judge.changed("RLS-01", "proof:drop-policy:baseline", got="4"))
    assert _reported(found) == [("RLS-01", "proof drop-policy", "proven", "void")]
    assert found.disagreements[0].message.startswith(
        "the proof broke before its end: its baseline is recorded as green: it has a finding"
    )


@pytest.mark.parametrize(
    ("got", "outcome"), [pytest.param("4", "inconclusive", id="flips"), ("5", "pass")]
)
def test_rejudge_is_inconclusive_where_a_premise_does_not_hold(
    judge: Judge, got: str, outcome: str
) -> None:
    """A premise is judged by its values too; verification reads only what its record says."""
    records: list[Record] = []
    for one in judge.records:
        records.append(one)
        if isinstance(one, ClaimEvent) and (one.criterion, one.part) == ("RLS-01", "check"):
            fields = one.model_dump(exclude={"kind", "over"}) | {"name": "workers", "got": got}
            records.append(PremiseEvent(**fields))
    found = judge(records)
    assert found.again.criteria[0].outcome == outcome
    assert found.differs is (outcome != "pass")
    reported = [one for one in found.disagreements if one.criterion == "RLS-01"]
    assert [str(one.statements[0]) for one in reported] == (
        ["premise workers: attribution_events: got 4, expected 5; recorded as true"]
        if outcome != "pass"
        else []
    )


def test_rejudge_reports_a_record_that_says_false_of_values_that_hold(judge: Judge) -> None:
    """The values decide, and the contradiction is reported."""
    found = judge(judge.changed("RLS-01", "check", holds=False))
    assert found.again.criteria[0].outcome is Outcome.PASS
    assert found.disagreements == ()
    (one,) = found.contradicted
    assert str(one) == (
        "claim rows that the superuser sees: attribution_events: got 5, expected 5; "
        "recorded as false"
    )
    assert found.differs


def test_rejudge_keeps_a_redacted_claim_false_and_says_why(judge: Judge) -> None:
    """A claim that was false before redaction stays false, and is listed as not judged again."""
    text = json.dumps(JWT)
    found = judge(judge.changed("RLS-01", "check", got=text, expected=text, holds=False))
    assert _reported(found) == [("RLS-01", "outcome", "pass", "fail")]
    assert [(one.unjudged, one.is_contradicted) for one in found.unjudged] == [(REDACTED, False)]


def test_rejudge_lists_a_redacted_text_that_was_searched(judge: Judge) -> None:
    """Whether a redacted text had the expected part is known from the record alone."""
    update = {"got": json.dumps(f"a {JWT}"), "relation": "contains", "expected": '"a"'}
    found = judge(judge.changed("RLS-01", "check", **update))
    assert found.disagreements == ()
    assert [(one.criterion, one.unjudged) for one in found.unjudged] == [("RLS-01", REDACTED)]


def test_rejudge_does_not_read_the_recorded_verdicts(judge: Judge) -> None:
    """Other recorded verdicts change nothing of what is derived; the difference is reported."""
    honest = judge().again
    forged = judge.run.criteria[1].model_copy(
        update={"outcome": Outcome.PASS, "cause": None, "message": ""}
    )
    blind = judge.run.criteria[0].model_copy(update={"falsification": Falsification.BLIND})
    judge.run = judge.run.model_copy(
        update={"criteria": (blind, forged, *judge.run.criteria[2:]), "exit_status": 0}
    )
    found = judge()
    assert found.again == honest
    assert _reported(found) == [
        ("RLS-01", "falsification", "blind", "proven"),
        ("RLS-02", "outcome", "pass", "fail"),
    ]
    assert found.contradicted == ()


def test_rejudge_reports_a_recorded_field_that_is_no_verdict(judge: Judge) -> None:
    """A message that the journal does not give is a difference, too."""
    other = judge.run.criteria[1].model_copy(update={"message": "fine"})
    judge.run = judge.run.model_copy(
        update={"criteria": (judge.run.criteria[0], other, *judge.run.criteria[2:])}
    )
    found = judge()
    assert found.disagreements == ()
    assert found.others == ("criteria.RLS-02.message",)
    assert found.differs


def test_rejudge_judges_a_finding_of_a_proof_that_was_taken_over(judge: Judge) -> None:
    """Its claims are in no journal of this run; its own record has the values."""
    story = next(one for one in judge.records if isinstance(one, ProofEvent))
    holding = story.findings[0].model_copy(update={"got": story.findings[0].expected})
    for findings, result in ((story.findings, "proven"), ((holding,), "void")):
        taken = TakenOverEvent(
            writer=story.writer,
            seq=story.seq,
            at=story.at,
            item=story.item,
            criterion=story.criterion,
            falsifier=story.falsifier,
            attestation=f"sha256:{'a' * 64}",
            story=story.model_copy(update={"findings": findings}),
        )
        records = [taken if one is story else one for one in judge.records]
        found = judge([one for one in records if not _is_claim_of(one, "proof:drop-policy")])
        assert found.again.criteria[0].proofs[0].result == result


def test_rejudge_judges_the_claims_of_a_check_that_was_taken_over(judge: Judge) -> None:
    """A check that passed earlier with a claim that its values break did not pass."""
    for got, outcome in (("5", Outcome.PASS), ("4", Outcome.ERROR)):
        records: list[Record] = []
        for one in judge.records:
            item = getattr(one, "item", None) or ""
            if not item.endswith("test_rls_01"):
                records.append(one)
            elif isinstance(one, ClaimEvent):
                fields = one.model_dump(include=set(Claim.model_fields)) | {"got": got}
                taken = CheckTakenOverEvent(
                    writer=one.writer,
                    seq=one.seq,
                    at=one.at,
                    item=item,
                    criterion="RLS-01",
                    attestation=f"sha256:{'a' * 64}",
                    ran=one.at,
                    claims=(Claim(**fields),),
                )
                records.append(taken)
        assert judge(records).again.criteria[0].outcome is outcome


def _is_claim_of(one: Record, part: str) -> bool:
    return isinstance(one, ClaimEvent) and one.part.startswith(part)
