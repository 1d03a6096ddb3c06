"""Judges the recorded evidence of a run again, from the values of its statements alone.

Owns computing whether each recorded claim, premise and finding holds, and comparing the run that
follows with the recorded one. Leaves the rules of verdicts to `gateproof_evidence.judging.verdict`
and its neighbours. Pure. No check is run: the claims that a check recorded are all that it stated.

A statement is judged by these rules:

1. Its values decide. What its record says about them (``holds``) is not read.
2. Where a value was redacted, ``equals``, ``differs`` and ``one_of`` are judged between the
   placeholders, which are equal for equal values only. It stays false if it was false before.
3. Other relations between redacted values cannot be judged again: ``holds`` is the only source. It
   is not believed where the redacted values contradict it: no such claim is recorded.

Source: docs/reference/rejudge.md; docs/decisions/0040-recorded-evidence-is-judged-again.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.judging.claim import UNCOMPARABLE, claim_text, relation_holds
from gateproof_evidence.judging.judgement import differences, judge
from gateproof_evidence.judging.verdict import CHECK, PROOF_PREFIX
from gateproof_evidence.model import (
    CheckTakenOverEvent,
    Claim,
    ClaimEvent,
    PremiseEvent,
    Record,
    Relation,
    Run,
    Story,
    TakenOverEvent,
    Verdict,
    Waiver,
)

Kind = Literal["claim", "premise", "finding"]
"""``finding``: a false claim in the record of a proof, a specimen or a cell."""

MARK = "[redacted:"
"""The beginning of every placeholder of a redacted value."""
REDACTED = "redacted"
_OF_EQUALITY: tuple[Relation, ...] = ("equals", "differs", "one_of")
"""The relations that placeholders keep."""
_OF_THE_CHECK = ("outcome", "cause", "disposition")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A recorded statement, judged again."""

    kind: Kind
    criterion: str | None
    """The criterion; None for a specimen of the self-proof."""
    item: str
    part: str
    """``check``, or the proof and step in which it was stated, such as ``proof:drop-policy``."""
    claim: Claim
    """The statement as recorded."""
    holds: bool
    """Whether it holds, judged again."""
    unjudged: str = ""
    """Why its values alone do not decide; empty if they do."""

    @property
    def is_contradicted(self) -> bool:
        """Whether its record says the opposite of its values."""
        return self.holds is not self.claim.holds

    def __str__(self) -> str:
        """Return the statement in one line, with what its record says."""
        recorded = "true" if self.claim.holds else "false"
        return f"{self.kind} {claim_text(self.claim)}; recorded as {recorded}"


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A part of a verdict that differs from the recorded one."""

    criterion: str
    what: str
    """``outcome``, ``cause``, ``disposition``, ``falsification`` or ``proof <falsifier>``."""
    recorded: str
    again: str
    message: str
    """The message of the verdict or proof, judged again."""
    statements: tuple[Statement, ...]
    """The contradicted statements that it follows from; empty if the recorded verdict alone
    differs."""


@dataclass(frozen=True, kw_only=True)
class Rejudgement:
    """A run, judged again, and its differences from the recorded one."""

    recorded: Run
    again: Run
    statements: tuple[Statement, ...]
    disagreements: tuple[Disagreement, ...]
    others: tuple[str, ...]
    """Names of the other fields of ``run.json`` that differ, such as ``criteria.RLS-01.message``;
    without the result and the exit status."""

    @property
    def contradicted(self) -> tuple[Statement, ...]:
        """The statements whose record says the opposite of their values."""
        return tuple(one for one in self.statements if one.is_contradicted)

    @property
    def unjudged(self) -> tuple[Statement, ...]:
        """The statements whose values alone do not decide."""
        return tuple(one for one in self.statements if one.unjudged)

    @property
    def differs(self) -> bool:
        """Whether the recorded run, or the record of any statement, says something else."""
        rolled = (self.recorded.result, self.recorded.exit_status)
        return bool(
            self.disagreements
            or self.others
            or self.contradicted
            or rolled != (self.again.result, self.again.exit_status)
        )


def rejudge(
    run: Run, catalogue: Catalogue, records: Sequence[Record], waivers: Iterable[Waiver]
) -> Rejudgement:
    """Judge the journal of a run again, and compare the result with the recorded run.

    Args:
        run: the recorded run; its verdicts are compared and not used.
        catalogue: the criteria.
        records: the merged journal.
        waivers: those that were in force.

    Raises:
        EvidenceError: as for `judge`.

    """
    judged_records, statements = judge_statements(records)
    judged = judge(catalogue.criteria, judged_records, waivers)
    again = run.model_copy(update=vars(judged))
    found = tuple(_disagreements(run.criteria, again.criteria, statements))
    named = tuple(f"criteria.{name}." for name in {one.criterion for one in found})
    others = (field for field, _ in differences(run, judged) if not field.startswith(named))
    return Rejudgement(
        recorded=run,
        again=again,
        statements=statements,
        disagreements=found,
        others=tuple(field for field in others if field not in ("result", "exit_status")),
    )


def judge_statements(
    records: Iterable[Record],
) -> tuple[tuple[Record, ...], tuple[Statement, ...]]:
    """Judge every statement of a journal again.

    Returns:
        The records, each with what its statements give now, and the statements.

    """
    statements: list[Statement] = []
    return tuple(_judge_record(one, statements) for one in records), tuple(statements)


def judge_values(claim: Claim) -> tuple[bool, str]:
    """Return whether a statement holds, and why its values alone do not decide; empty if they do.

    The rules are those of this module.
    """
    holds, problem = _evaluate(claim)
    if MARK not in claim.got and MARK not in claim.expected:  # 1
        return holds, problem
    if holds is not claim.holds:  # 2, 3: false if either is
        return False, "" if claim.holds else REDACTED
    is_judged = claim.relation in _OF_EQUALITY and not problem
    return holds, "" if is_judged else REDACTED


def _evaluate(claim: Claim) -> tuple[bool, str]:
    """Return whether the relation holds between the values, or why there is none: then it is false.

    A record with such values is no evidence that the relation holds.
    """
    try:
        got, expected = json.loads(claim.got), json.loads(claim.expected)
        return relation_holds(claim.relation, got, expected), ""
    except UNCOMPARABLE as error:
        return False, f"cannot be compared by {claim.relation}: {error}"


def _judge_record(record: Record, statements: list[Statement]) -> Record:
    """Return a record with its statements judged again, and add them to a list."""
    if isinstance(record, ClaimEvent | PremiseEvent):
        return _judge_event(record, statements)
    if isinstance(record, CheckTakenOverEvent):
        found = [_statement(record, record.criterion, CHECK, one) for one in record.claims]
        statements += found
        return record.model_copy(update={"claims": tuple(map(_claim, found))})
    if isinstance(record, TakenOverEvent):
        story = _judge_story(record.story, statements)
        return record.model_copy(update={"story": story})
    return _judge_story(record, statements) if isinstance(record, Story) else record


def _judge_event(record: ClaimEvent | PremiseEvent, statements: list[Statement]) -> Record:
    claim = Claim(
        name=record.name,
        on=record.on,
        got=record.got,
        relation=record.relation,
        expected=record.expected,
        holds=record.holds,
    )
    one = _statement(record, record.criterion, record.part, claim)
    statements.append(one)
    return record.model_copy(update={"holds": one.holds}) if one.is_contradicted else record


S = TypeVar("S", bound=Story)


def _judge_story(record: S, statements: list[Statement]) -> S:
    """Return the steps of a proof with the findings that are false claims now."""
    criterion: str | None = getattr(record, "criterion", None)
    part = f"{PROOF_PREFIX}{record.falsifier}"
    found = [_statement(record, criterion, part, one) for one in record.findings]
    statements += found
    false = tuple(_claim(one) for one in found if not one.holds)
    return record.model_copy(update={"findings": false})


def _statement(
    record: ClaimEvent | PremiseEvent | CheckTakenOverEvent | Story,
    criterion: str | None,
    part: str,
    claim: Claim,
) -> Statement:
    holds, unjudged = judge_values(claim)
    kind: Kind = "finding" if isinstance(record, Story) else "claim"
    return Statement(
        kind="premise" if isinstance(record, PremiseEvent) else kind,
        criterion=criterion,
        item=record.item,
        part=part,
        claim=claim,
        holds=holds,
        unjudged=unjudged,
    )


def _claim(one: Statement) -> Claim:
    return one.claim.model_copy(update={"holds": one.holds})


def _disagreements(
    recorded: Sequence[Verdict], again: Sequence[Verdict], statements: Sequence[Statement]
) -> Iterator[Disagreement]:
    """Yield the differences of the criteria of both runs, in the order of the catalogue."""
    before = {verdict.id: verdict for verdict in recorded}
    contradicted = [one for one in statements if one.is_contradicted]
    for verdict in again:
        if verdict.id in before:
            own = [one for one in contradicted if one.criterion == verdict.id]
            yield from _of_check(before[verdict.id], verdict, own)
            yield from _of_proofs(before[verdict.id], verdict, own)


def _of_check(before: Verdict, after: Verdict, own: Sequence[Statement]) -> Iterator[Disagreement]:
    """Yield the first of these fields that differs: the others follow from it."""
    for field in _OF_THE_CHECK:
        if getattr(before, field) != getattr(after, field):
            yield Disagreement(
                criterion=after.id,
                what=field,
                recorded=str(getattr(before, field)),
                again=str(getattr(after, field)),
                message=after.message,
                statements=tuple(one for one in own if one.part == CHECK),
            )
            return


def _of_proofs(before: Verdict, after: Verdict, own: Sequence[Statement]) -> Iterator[Disagreement]:
    """Yield each proof with another result, or else the falsification if that alone differs."""
    results = {proof.falsifier: str(proof.result) for proof in before.proofs}
    changed = [one for one in after.proofs if results.get(one.falsifier) != one.result]
    for proof in changed:
        part = f"{PROOF_PREFIX}{proof.falsifier}:"
        yield Disagreement(
            criterion=after.id,
            what=f"proof {proof.falsifier}",
            recorded=results.get(proof.falsifier, "none"),
            again=str(proof.result),
            message=proof.message,
            statements=tuple(one for one in own if f"{one.part}:".startswith(part)),
        )
    if not changed and before.falsification != after.falsification:
        yield Disagreement(
            criterion=after.id,
            what="falsification",
            recorded=str(before.falsification),
            again=str(after.falsification),
            message="",
            statements=(),
        )
