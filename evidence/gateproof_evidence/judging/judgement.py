"""Derives a run from its journal, its catalogue and its waivers.

Owns the combination of the rules: verdicts, self-proof, kill matrix and roll-up. Sealing derives
each run here, once, and verification derives it again from the bundle. Pure: pytest's own status
and the defects that belong to no criterion are read from the record of the run's end. Waivers
expire by the day of that record.

Source: docs/reference/verdicts.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.canonical import canonical_json
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.recording.journal import shard_of
from gateproof_evidence.judging.difference import regressions
from gateproof_evidence.judging.loss import judge_losses
from gateproof_evidence.judging.proof import judge_cells, judge_self_proof
from gateproof_evidence.judging.result import RollUp, roll_up
from gateproof_evidence.judging.verdict import derive, environment_problems, read_bindings
from gateproof_evidence.model import (
    Absence,
    Baseline,
    Bindings,
    Cell,
    Comparison,
    Criterion,
    Disposition,
    EnvironmentReport,
    Extent,
    Merged,
    PhaseEvent,
    PhaseId,
    Record,
    Regression,
    Result,
    Run,
    RunEvent,
    Shard,
    Specimen,
    StateEvent,
    Timing,
    Value,
    Verdict,
    Waiver,
)
from gateproof_evidence.model.problem import first_problem


class Ending(Value):
    """The data of the record of a run's end."""

    pytest_status: Annotated[int, Field(ge=0)]
    stopped: str = ""
    """Why pytest stopped by itself before the end; empty if it did not, or if a person did."""
    falsify: Extent
    """The proofs that were requested of the run."""
    defects: tuple[str, ...]
    """Harness defects that belong to no criterion and that no specimen revealed."""
    baseline: Baseline | None = None
    """The verdicts of an earlier bundle, where the run must not regress from them."""
    shard: Shard | None = None
    """The part of a run that this one is; None if it is whole."""
    merged: Merged | None = None
    """The shards that it was merged from; None if it was not."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The fields of a run that follow from its journal, its catalogue and its waivers."""

    result: Result
    exit_status: int
    reasons: tuple[str, ...]
    falsify: Extent
    pytest_status: int
    defects: tuple[str, ...]
    problems: tuple[str, ...]
    ended: AwareDatetime
    self_proof: tuple[Specimen, ...]
    criteria: tuple[Verdict, ...]
    absences: tuple[Absence, ...]
    phases: tuple[PhaseId, ...]
    matrix: tuple[Cell, ...]
    baseline: Comparison | None
    shard: Shard | None
    merged: Merged | None


@dataclass(frozen=True, kw_only=True)
class Context:
    """The fields of a run that its journal does not contain."""

    started: AwareDatetime
    environment: EnvironmentReport | None
    bindings: Bindings
    timing: Timing


_ABSENCES = TypeAdapter(tuple[Absence, ...])
_PHASES = TypeAdapter(tuple[PhaseId, ...])

FIELDS = tuple(Judged.__dataclass_fields__)


def derive_run(
    catalogue: Catalogue, records: Sequence[Record], waivers: Iterable[Waiver], context: Context
) -> Run:
    """Return the run that a journal shows.

    Args:
        catalogue: the criteria; each gets one verdict, in this order.
        records: the merged journal, with one record of the run's end.
        waivers: those that were in force.
        context: the fields that the journal does not contain.

    Raises:
        EvidenceError: as for `judge`.

    """
    return Run(
        **vars(judge(catalogue.criteria, records, waivers)),
        **vars(context),
        catalogue_digest=catalogue.digest,
    )


def judge(
    criteria: Sequence[Criterion], records: Sequence[Record], waivers: Iterable[Waiver]
) -> Judged:
    """Judge a run.

    Args:
        criteria: the catalogue.
        records: the merged journal, with one record of the run's end.
        waivers: those that were in force; each expires on a calendar day.

    Raises:
        EvidenceError: the journal has no readable record of the run's end or of the collection.

    """
    at, ending = read_ending(records)
    missing = _missing(ending.merged)
    verdicts = derive(criteria, records, waivers, today=at.date(), missing=missing)
    defects = [*ending.defects, *judge_losses(records)]
    problems = environment_problems(records)
    specimens, wrong = _self_proof(records, ending)
    defects += wrong
    comparison = _compare(ending, verdicts)
    lost = comparison.regressions if comparison else ()
    rolled = _roll_up(verdicts, defects, _summary(problems), ending, lost)
    return Judged(
        result=rolled.result,
        exit_status=rolled.exit_status,
        reasons=rolled.reasons,
        falsify=ending.falsify,
        pytest_status=ending.pytest_status,
        defects=tuple(defects),
        problems=_summary(problems),
        ended=at,
        self_proof=specimens,
        criteria=verdicts,
        absences=read_absences(records),
        phases=read_phases(records),
        matrix=judge_cells(records),
        baseline=comparison,
        shard=ending.shard,
        merged=ending.merged,
    )


def _missing(merged: Merged | None) -> Mapping[int, str]:
    """Return the reason why the checks of each missing shard were not run."""
    if merged is None:
        return {}
    return {number: f"shard {number} of {merged.of} is missing" for number in merged.missing}


def _self_proof(
    records: Sequence[Record], ending: Ending
) -> tuple[tuple[Specimen, ...], tuple[str, ...]]:
    """Judge the specimens, which each shard of a merged run has run; the worst one counts.

    Returns:
        The result of each, and the defects that they show.

    """
    if ending.falsify == "none":
        return (), ()
    if ending.merged is None:
        return _specimens(records, "")
    specimens: dict[str, Specimen] = {}
    defects: list[str] = []
    own = by_shard(records)
    for one in ending.merged.shards:
        found, wrong = _specimens(own[one.number], f"shard {one.number} of {ending.merged.of}: ")
        defects += wrong
        for specimen in found:
            known = specimens.get(specimen.name, specimen)
            specimens[specimen.name] = known if known.result is not known.wanted else specimen
    return tuple(specimens.values()), tuple(defects)


def by_shard(records: Iterable[Record]) -> Mapping[int | None, Sequence[Record]]:
    """Return the records of a merged journal by the number of their shard."""
    found: dict[int | None, list[Record]] = defaultdict(list)
    numbers: dict[str, int | None] = {}
    for record in records:
        if record.writer not in numbers:
            numbers[record.writer] = shard_of(record.writer)
        found[numbers[record.writer]].append(record)
    return found


def _specimens(
    records: Sequence[Record], prefix: str
) -> tuple[tuple[Specimen, ...], tuple[str, ...]]:
    """Judge the specimens of one run or shard, where it selected any check."""
    if not any(one.selected for one in read_bindings(records).values()):
        return (), ()
    excused = {one.part for one in environment_problems(records)}
    found, wrong = judge_self_proof(records, excused=excused)
    return found, tuple(f"{prefix}{line}" for line in wrong)


def _summary(found: Sequence[PhaseEvent | StateEvent]) -> tuple[str, ...]:
    """Return one line for all proofs that the environment ended: mostly the cause is the same."""
    if not found:
        return ()
    first = found[0]
    reason = first.detail if isinstance(first, StateEvent) else first.message
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (f"{first.item}{more}: {reason}",)


def _compare(ending: Ending, verdicts: Sequence[Verdict]) -> Comparison | None:
    """Compare the verdicts with the baseline, where there is one."""
    if ending.baseline is None:
        return None
    before = ending.baseline
    return Comparison(
        attestation=before.attestation,
        signer=before.signer,
        commit=before.commit,
        regressions=regressions(before.criteria, verdicts, falsify=ending.falsify),
    )


def _roll_up(
    verdicts: Sequence[Verdict],
    defects: list[str],
    problems: Sequence[str],
    ending: Ending,
    lost: Sequence[Regression],
) -> RollUp:
    """Roll up the verdicts; a failed pytest run without a failed verdict is a defect."""
    status, falsify = ending.pytest_status, ending.falsify
    rolled = roll_up(
        verdicts,
        pytest_status=status,
        stopped=ending.stopped,
        defects=defects,
        problems=problems,
        falsify=falsify,
        regressions=lost,
    )
    waived = any(verdict.disposition is Disposition.WAIVED for verdict in verdicts)
    if status and not rolled.exit_status and not waived:
        defects.append(f"pytest ended with {status}, and no verdict explains it")
        rolled = roll_up(verdicts, defects=defects, falsify=falsify, regressions=lost)
    return rolled


def read_absences(records: Iterable[Record]) -> tuple[Absence, ...]:
    """Return the statements of absence that counted in a run, each once.

    Raises:
        EvidenceError: a record of the start has statements of another shape.

    """
    found: dict[Absence, None] = {}
    for record in records:
        if isinstance(record, RunEvent) and record.event == "started":
            try:
                found |= dict.fromkeys(_ABSENCES.validate_python(record.data.get("absent", ())))
            except ValidationError as error:
                raise EvidenceError(
                    f"journal: the start of the run: absent: got {first_problem(error).message}, "
                    "expected statements of absence"
                ) from error
    return tuple(found)


def read_phases(records: Iterable[Record]) -> tuple[PhaseId, ...]:
    """Return the phases in the order that the description declares; empty if it declares none.

    Raises:
        EvidenceError: a record of the start has phases of another shape.

    """
    found: dict[PhaseId, None] = {}
    for record in records:
        if isinstance(record, RunEvent) and record.event == "started":
            try:
                found |= dict.fromkeys(_PHASES.validate_python(record.data.get("phases", ())))
            except ValidationError as error:
                raise EvidenceError(
                    f"journal: the start of the run: phases: got {first_problem(error).message}, "
                    "expected a list of phases"
                ) from error
    return tuple(found)


def read_ending(records: Iterable[Record]) -> tuple[AwareDatetime, Ending]:
    """Return when and how the run ended; of a merged journal, the end of the whole run.

    Raises:
        EvidenceError: the journal has no such record, more than one, or one of another shape.

    """
    found = [r for r in records if isinstance(r, RunEvent) and r.event == "ended"]
    if len(found) > 1:
        found = [r for r in found if shard_of(r.writer) is None]
    if len(found) != 1:
        raise EvidenceError(f"journal: the end of the run: got {len(found)} records, expected one")
    try:
        return found[0].at, Ending.model_validate(found[0].data)
    except ValidationError as error:
        problem = first_problem(error)
        raise EvidenceError(
            f"journal: the end of the run: {problem.field}: got {problem.message}, "
            "expected its status, the extent of its proofs, and its defects"
        ) from error


def differences(run: Run, judged: Judged) -> Iterator[tuple[str, str]]:
    """Compare a run with the fields that were derived from its evidence.

    Yields:
        The name of each field that differs (``criteria.RLS-02.outcome``), and both values.

    """
    for field in FIELDS:
        got, expected = getattr(run, field), getattr(judged, field)
        if field == "criteria":
            yield from _verdicts(got, expected)
        elif got != expected:
            yield field, _both(got, expected)


def _verdicts(got: Sequence[Verdict], expected: Sequence[Verdict]) -> Iterator[tuple[str, str]]:
    ids, wanted = [v.id for v in got], [v.id for v in expected]
    if ids != wanted:
        yield "criteria", _both(ids, wanted)
        return
    for one, other in zip(got, expected, strict=True):
        for field in Verdict.model_fields:
            if getattr(one, field) != getattr(other, field):
                both = _both(getattr(one, field), getattr(other, field))
                yield f"criteria.{one.id}.{field}", both


def _both(got: object, expected: object) -> str:
    return f"got {_short(got)}, expected {_short(expected)}"


def _short(value: object) -> str:
    text = _plain(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _plain(value: object) -> str:
    if isinstance(value, Value):
        return canonical_json(value.model_dump(mode="json")).decode("utf-8")
    if isinstance(value, tuple | list):
        return f"[{', '.join(_plain(one) for one in value)}]"
    return str(value)
