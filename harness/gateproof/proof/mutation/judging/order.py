"""The order in which checks run with a mutant: those first that find most for their time.

A check's chance is estimated from the mutants of the same group that it has killed or not killed so
far, in this process and in the others; its time from the bundle, and from its runs here. Sorting by
time divided by chance gives the least expected time until the first success.

Source: W. E. Smith, "Various optimizers for single-stage production", 1956, for the ratio rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateproof.proof.mutation.choosing.selection import NEAR
from gateproof.proof.mutation.mutant import Candidate, Outcome, Status
from gateproof.proof.mutation.store import Store, Task

USUAL_S = 1.0
"""The time of a check of which nothing is known."""


@dataclass(kw_only=True)
class Order:
    """Orders the checks of a mutant by experience."""

    store: Store
    candidates: Mapping[str, Candidate]
    """By node id."""
    durations_s: dict[str, float]
    groups: Mapping[str, str]
    """The id of each mutant to its group."""
    _killed: Counter[tuple[str, str]] = field(default_factory=Counter)
    _tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    _read: set[str] = field(default_factory=set)
    _without_s: dict[str, float] = field(init=False)

    def of(self, task: Task) -> list[str]:
        """Return the node ids of the checks in the order in which they run."""
        self._read_others()
        group = task.mutant.group
        return sorted(task.checks, key=lambda one: (self._cost(task, one, group), one))

    def note(self, nodeid: str, duration_s: float) -> None:
        """Correct the time of a check by a run of it."""
        before = self.durations_s.get(nodeid, duration_s)
        self.durations_s[nodeid] = (before + duration_s) / 2

    def __post_init__(self) -> None:
        """Keep the times without mutants: with some of them a check hangs."""
        self._without_s = dict(self.durations_s)

    def usual_s(self, nodeid: str) -> float:
        """Return the time that a check takes without a mutant, as far as it is known."""
        return self._without_s.get(nodeid, USUAL_S)

    def _cost(self, task: Task, nodeid: str, group: str) -> float:
        criterion = self.candidates[nodeid].criterion
        killed, tried = self._killed[group, criterion], self._tried[group, criterion]
        chance = given = task.checks[nodeid]
        if given < NEAR:  # A falsifier at the same place says more than the rest of the file does.
            chance = (killed + given) / (tried + 1)
        return max(self.durations_s.get(nodeid, USUAL_S), 0.02) / chance

    def _read_others(self) -> None:
        for outcome in self.store.outcomes():
            if outcome.mutant in self._read:
                continue
            self._read.add(outcome.mutant)
            self._count(outcome, self.groups.get(outcome.mutant, ""))

    def _count(self, outcome: Outcome, group: str) -> None:
        for one in outcome.tried:
            self._tried[group, one.criterion] += 1
        if outcome.status is Status.KILLED:
            self._killed[group, outcome.criterion] += 1
