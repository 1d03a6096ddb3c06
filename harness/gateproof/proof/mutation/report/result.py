"""The result of a mutation run: counts, survivors, JSON.

Owns what the numbers mean. Equivalent mutants are in no figure; void ones are reported apart; an
excluded or accepted mutant counts as a survivor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from gateproof.proof.mutation.mutant import Mutant, Outcome, Status
from gateproof.proof.mutation.report.accepted import Accepted, acceptance_of

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one operator, of one kind, or of all."""

    kind: str
    operator: str
    """Empty for all operators."""
    killed: int
    survived: int
    void: int
    equivalent: int
    missing: int
    """Mutants without a result: they were not reached, or their process ended."""
    killed_s: float
    """The mean wall time of a killed mutant in its process, in seconds; 0 without one."""

    @property
    def mutants(self) -> int:
        """All of them."""
        return self.killed + self.survived + self.void + self.equivalent + self.missing

    @property
    def score(self) -> float | None:
        """The share of killed ones among those killed and survived; None without any."""
        judged = self.killed + self.survived
        return self.killed / judged if judged else None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A mutant with its outcome."""

    mutant: Mutant
    outcome: Outcome | None
    accepted: Accepted | None = None

    @property
    def status(self) -> Status | None:
        """The result; None if there is none yet."""
        return self.outcome.status if self.outcome else None


@dataclass(frozen=True, kw_only=True)
class MutationResult:
    """The result of a mutation run."""

    system: str
    commit: str
    subject: str
    environment: str
    seed: str
    sample: int | None
    shard: str
    bundle: str
    """The attestation digest or path by which checks were selected; empty without a bundle."""
    judged: tuple[Judged, ...]
    refused: Mapping[str, int]

    @property
    def survivors(self) -> list[Judged]:
        """The survivors; those that are not accepted come first."""
        found = [one for one in self.judged if one.status is Status.SURVIVED]
        return sorted(found, key=lambda one: (one.accepted is not None, one.mutant.id))

    @property
    def open(self) -> list[Judged]:
        """The survivors that are not accepted."""
        return [one for one in self.survivors if one.accepted is None]

    @property
    def void(self) -> list[Judged]:
        """The mutants with which the system does not start."""
        return [one for one in self.judged if one.status is Status.VOID]

    @property
    def missing(self) -> list[Judged]:
        """The mutants without a result."""
        return [one for one in self.judged if one.outcome is None]

    @property
    def total(self) -> Row:
        """The figures of all mutants."""
        return _row("all", "", self.judged)

    def rows(self) -> list[Row]:
        """Return the figures by kind, each followed by its operators."""
        kinds: dict[str, list[Judged]] = defaultdict(list)
        for one in self.judged:
            kinds[one.mutant.kind].append(one)
        rows = []
        for kind, members in kinds.items():
            rows.append(_row(kind, "", members))
            operators: dict[str, list[Judged]] = defaultdict(list)
            for one in members:
                operators[one.mutant.operator].append(one)
            rows += [_row(kind, name, operators[name]) for name in sorted(operators)]
        return rows

    def as_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "format": FORMAT,
            "system": self.system,
            "commit": self.commit,
            "subject": self.subject,
            "environment": self.environment,
            "seed": self.seed,
            "sample": self.sample,
            "shard": self.shard,
            "bundle": self.bundle,
            "total": _row_json(self.total),
            "rows": [_row_json(row) for row in self.rows()],
            "refused": dict(self.refused),
            "mutants": [_judged_json(one) for one in self.judged],
        }


def judged(
    mutants: Sequence[Mutant],
    outcomes: Iterable[Outcome],
    decisions: Sequence[Accepted],
    today: date,
) -> tuple[Judged, ...]:
    """Return each mutant with its last outcome, and the decision that accepts its survival."""
    found = {one.mutant: one for one in outcomes}
    return tuple(
        Judged(
            mutant=one,
            outcome=found.get(one.id),
            accepted=acceptance_of(one.id, decisions, today),
        )
        for one in mutants
    )


def _row(kind: str, operator: str, members: Sequence[Judged]) -> Row:
    counts = dict.fromkeys((*Status, None), 0)
    for one in members:
        counts[one.status] += 1
    times = [
        one.outcome.duration_s for one in members if one.outcome and one.status is Status.KILLED
    ]
    return Row(
        kind=kind,
        operator=operator,
        killed=counts[Status.KILLED],
        survived=counts[Status.SURVIVED],
        void=counts[Status.VOID],
        equivalent=counts[Status.EQUIVALENT],
        missing=counts[None],
        killed_s=sum(times) / len(times) if times else 0.0,
    )


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "operator": row.operator,
        "mutants": row.mutants,
        "killed": row.killed,
        "survived": row.survived,
        "void": row.void,
        "equivalent": row.equivalent,
        "missing": row.missing,
        "score": None if row.score is None else round(row.score, 4),
        "mean_s_of_killed": round(row.killed_s, 2),
    }


def _judged_json(one: Judged) -> dict[str, Any]:
    outcome = one.outcome.model_dump(mode="json", exclude={"mutant"}) if one.outcome else None
    return {
        **one.mutant.model_dump(include={"id", "kind", "operator", "where", "change", "excluded"}),
        "outcome": outcome,
        "accepted": one.accepted.model_dump() if one.accepted else None,
    }
