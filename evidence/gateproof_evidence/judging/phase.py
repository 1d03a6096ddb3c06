"""The run by phase: whether each phase is released, and whether the next one may begin.

Owns the order of phases and the result of each. Leaves the rules of a release to
`gateproof_evidence.judging.result`, and sign-offs of a phase to
`gateproof_evidence.additions.sign_off`. Pure.

Source: design, "Sign-off"; docs/reference/verdicts.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.judging.result import roll_up
from gateproof_evidence.model import Extent, Falsification, Regression, Result, Run, Verdict

_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase and its result."""

    id: str
    criteria: tuple[str, ...]
    """Ids, in the order of the catalogue."""
    result: Result
    reasons: tuple[str, ...]
    """Why it is not released, one line each; empty if it is."""
    next: str | None
    """The phase after it; None for the last."""
    in_the_way: tuple[str, ...]
    """Why the next phase may not begin: its own reasons, and every earlier phase that is not
    released; empty if the next may begin."""

    @property
    def next_may_begin(self) -> bool:
        """Whether this phase and all earlier ones are released."""
        return not self.in_the_way


def phases(run: Run) -> tuple[Phase, ...]:
    """Return the phases of a run, in the order that it declares; else in that of their ids.

    A phase is judged by the criteria that name it and by what concerns every criterion: a defect
    of the harness, or an early end of pytest, blocks all phases.
    """
    order = {name: place for place, name in enumerate(run.phases)}
    ids = sorted(
        {verdict.phase for verdict in run.criteria},
        key=lambda name: (order.get(name, len(order)), _place(name)),
    )
    found: list[Phase] = []
    for name, after in zip(ids, [*ids[1:], None], strict=True):
        own = [verdict for verdict in run.criteria if verdict.phase == name]
        rolled = roll_up(
            own,
            pytest_status=run.pytest_status,
            defects=run.defects,
            problems=run.problems,
            falsify=_asked(own, run.falsify),
            regressions=_lost(run, name, ids),
            whole=False,
        )
        reasons = rolled.reasons or _without_verdict(rolled.result, rolled.exit_status)
        earlier = tuple(
            f"phase {one.id} before it is {one.result}"
            for one in found
            if one.result is not Result.RELEASED
        )
        found.append(
            Phase(
                id=name,
                criteria=tuple(verdict.id for verdict in own),
                result=rolled.result,
                reasons=reasons,
                next=after,
                in_the_way=(*earlier, *reasons),
            )
        )
    return tuple(found)


def find_phase(run: Run, name: str) -> Phase:
    """Return one phase of a run.

    Raises:
        BadInputError: no criterion of the run names the phase.

    """
    known = phases(run)
    for phase in known:
        if phase.id == name:
            return phase
    raise BadInputError(
        f"--phase: got {name}, expected one of {', '.join(one.id for one in known) or 'none'}"
        "; name one of these"
    )


def _place(phase: str) -> tuple[tuple[int, ...], str]:
    """Return the sort key of a phase: ``B0.10`` comes after ``B0.9``."""
    return tuple(int(number) for number in _NUMBER.findall(phase)), phase


def _asked(verdicts: Sequence[Verdict], asked: Extent) -> Extent:
    """Return the extent for one phase: of a selection of proofs it may have all of its own."""
    proofs = [proof for verdict in verdicts for proof in verdict.proofs]
    ran = all(proof.result is not Falsification.UNPROVEN for proof in proofs)
    return "all" if asked == "some" and ran else asked


def _lost(run: Run, name: str, ids: Sequence[str]) -> tuple[Regression, ...]:
    """Return the regressions of a phase; if its phase is gone, every phase gets a regression."""
    found = run.baseline.regressions if run.baseline else ()
    return tuple(one for one in found if one.phase == name or one.phase not in ids)


def _without_verdict(result: Result, exit_status: int) -> tuple[str, ...]:
    """Return the one reason that no verdict explains: how pytest itself ended."""
    if result is Result.RELEASED:
        return ()
    return (f"pytest ended with {exit_status}: the run did not finish",)
