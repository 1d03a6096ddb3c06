"""The run by gate: counts, proofs and reasons for the result, the same for every view.

Owns the counts. Leaves the layout to `gateproof_evidence.reports.html` and
`gateproof_evidence.reports.terminal`, and the rules of a release to
`gateproof_evidence.judging.verdict`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gateproof_evidence.judging.result import roll_up
from gateproof_evidence.model import (
    Disposition,
    Extent,
    Falsification,
    Outcome,
    Result,
    Run,
    Verdict,
)
from gateproof_evidence.model.text import many

ORDER = (
    Outcome.PASS,
    Outcome.FAIL,
    Outcome.ERROR,
    Outcome.INCONCLUSIVE,
    Outcome.NOTAPPLICABLE,
    Outcome.NOTCHECKED,
    Outcome.NOTSELECTED,
    Outcome.NOTDESCRIBED,
)
"""The outcomes in the order of every table."""

WORDS: Mapping[Outcome, str] = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    Outcome.ERROR: "error",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.NOTAPPLICABLE: "not applicable",
    Outcome.NOTCHECKED: "not checked",
    Outcome.NOTSELECTED: "not selected",
    Outcome.NOTDESCRIBED: "not described",
}
"""The outcomes as people read them."""


_ALWAYS = (Outcome.PASS, Outcome.FAIL, Outcome.ERROR)
_NOT_JUDGED = (Outcome.NOTSELECTED, Outcome.NOTDESCRIBED, Outcome.NOTAPPLICABLE)
"""The outcomes of criteria of which no proof is required, the one first that a gate of them has."""
_FEW = 5
"""The most ids that a line names; more are easier to read in the table."""


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """One gate, or all gates together."""

    gate: str
    phases: tuple[str, ...]
    criteria: int
    counts: Mapping[Outcome, int]
    waived: int
    proven: int
    """Falsifiers that made their check fail with the predicted finding."""
    declared: int
    """Falsifiers of the checks of selected criteria, and those that ran without their check."""
    unproven: int
    """Criteria that passed and have no falsifier at all."""
    result: Result

    @property
    def selected(self) -> bool:
        """Whether the run judged any criterion of the gate, or tried to."""
        return self._idle is None

    @property
    def verdict(self) -> str:
        """The result in words."""
        return self.result.value if self._idle is None else WORDS[self._idle]

    @property
    def _idle(self) -> Outcome | None:
        """The outcome that the gate has, if none of its criteria was to be judged."""
        if sum(self.counts[one] for one in _NOT_JUDGED) < self.criteria:
            return None
        return next((one for one in _NOT_JUDGED if self.counts[one]), None)


def gate_rows(run: Run) -> tuple[GateRow, ...]:
    """Return a row for each gate, in the order of the catalogue."""
    gates: dict[str, list[Verdict]] = {}
    for verdict in run.criteria:
        gates.setdefault(verdict.gate, []).append(verdict)
    return tuple(_row(gate, tuple(own), run.falsify) for gate, own in gates.items())


def total_row(run: Run) -> GateRow:
    """Return the row of the whole run, whose result is the run's own."""
    row = _row("all", run.criteria, run.falsify)
    return GateRow(**{**vars(row), "result": run.result})


def columns(run: Run) -> tuple[Outcome, ...]:
    """Return the outcomes for a table's columns: pass, fail, error, and any that occurred."""
    counts = total_row(run).counts
    return tuple(outcome for outcome in ORDER if outcome in _ALWAYS or counts[outcome])


def of_gate(run: Run, gate: str) -> tuple[Verdict, ...]:
    """Return the verdicts of one gate."""
    return tuple(verdict for verdict in run.criteria if verdict.gate == gate)


def open_verdicts(run: Run) -> tuple[Verdict, ...]:
    """Return the verdicts that need attention: all but proven passes."""
    return tuple(verdict for verdict in run.criteria if is_open(verdict))


def obstacles(run: Run) -> tuple[str, ...]:
    """Return the run's reasons, with all criteria that were not selected in one reason."""
    left_out = [v.id for v in run.criteria if v.outcome is Outcome.NOTSELECTED]
    judged = {v.gate for v in run.criteria if v.outcome not in _NOT_JUDGED}
    gates = dict.fromkeys(v.gate for v in run.criteria)
    idle = tuple(f"gate {gate}:" for gate in gates if gate not in judged)
    names = frozenset(left_out)
    reasons = [
        reason
        for reason in run.reasons
        if reason.partition(" ")[0] not in names and not reason.startswith(idle)
    ]
    if left_out:
        listed = ", ".join(left_out)
        number = f"{many(len(left_out), 'criterion', 'criteria')}, see the table"
        reasons.append(f"not selected: {number if len(left_out) > _FEW else listed}")
    return tuple(reasons)


def is_open(verdict: Verdict) -> bool:
    """Return whether a verdict needs attention: it was selected and is not a proven pass."""
    if verdict.outcome is Outcome.PASS:
        return verdict.falsification is not Falsification.PROVEN
    return verdict.outcome not in (Outcome.NOTAPPLICABLE, Outcome.NOTSELECTED)


def _declared(verdict: Verdict) -> int:
    if verdict.outcome not in _NOT_JUDGED:
        return verdict.falsifiers
    return sum(proof.result is not Falsification.UNPROVEN for proof in verdict.proofs)


def _row(gate: str, verdicts: tuple[Verdict, ...], asked: Extent) -> GateRow:
    counts = Counter(verdict.outcome for verdict in verdicts)
    proofs = [proof for verdict in verdicts for proof in verdict.proofs]
    ran = all(proof.result is not Falsification.UNPROVEN for proof in proofs)
    return GateRow(
        gate=gate,
        phases=tuple(dict.fromkeys(verdict.phase for verdict in verdicts)),
        criteria=len(verdicts),
        counts={outcome: counts[outcome] for outcome in ORDER},
        waived=sum(verdict.disposition is Disposition.WAIVED for verdict in verdicts),
        proven=sum(proof.result is Falsification.PROVEN for proof in proofs),
        declared=sum(map(_declared, verdicts)),
        unproven=sum(v.outcome is Outcome.PASS and v.falsifiers == 0 for v in verdicts),
        result=roll_up(
            verdicts, falsify="all" if asked == "some" and ran else asked, whole=False
        ).result,
    )
