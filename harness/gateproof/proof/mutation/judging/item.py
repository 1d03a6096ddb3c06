"""The pytest items of a mutation run: one for each mutant, which runs the checks until one fails.

The steps for a mutant:

1. Its change is made to a copy of the system. A mutant that cannot be made is void; one without a
   difference is equivalent.
2. The checks that depend on it run, in the order of `gateproof.proof.mutation.judging.order`, until
   a claim of one does not hold.
3. That check must pass on a copy with a change that does not matter: otherwise its finding shows
   nothing, and the next check runs.
4. Where no check fails before the time of the mutant is over, it survives.

A finding of a criterion without which the system does not start makes the mutant void: such a
defect needs no gate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pytest

from gateproof.base.errors import NotReadyError
from gateproof.faults.falsifier import Falsifier, Prediction
from gateproof.probes.claims.statement import recorded_claims
from gateproof.probes.recorder import Scope
from gateproof.proof.mutation.judging.change import NAME, SameError, VoidError, fault_of
from gateproof.proof.mutation.judging.copies import MutantCopies
from gateproof.proof.mutation.judging.order import Order
from gateproof.proof.mutation.mutant import Candidate, Mutant, Outcome, Status, Tried
from gateproof.proof.mutation.store import Store, Task
from gateproof.proof.proof import ProofItem
from gateproof.run.stage import categorise, first_line
from gateproof.run.writer import Writer
from gateproof.stack.copy import Copy
from gateproof.stack.stopwatch import ItemLabels
from gateproof_evidence.model.text import one_line

PASS, FAIL, UNUSABLE = "pass", "fail", "unusable"
SHORTEST_S = 10.0
"""The time that a check of a mutant has at least."""
TIMES_USUAL = 5.0
"""How many times the usual time a check may take although others are left without."""
LONGEST_MESSAGE = 600


class CheckItem(ProofItem):
    """A check that runs on the copies of a mutant."""

    copies: MutantCopies
    left_s: float

    @classmethod
    def on(cls, check: pytest.Function, copies: MutantCopies, left_s: float) -> CheckItem:
        """Create the item of a check.

        Args:
            check: the collected check.
            copies: the copies that it works on.
            left_s: the time that it has.

        """
        falsifier = Falsifier(fault=copies.fault, expect=Prediction())
        item = cast("CheckItem", cls.of_check(check, falsifier))
        item.copies, item.left_s = copies, left_s
        return item

    def limit_s(self, check_s: float) -> float:
        """Return the overall limit, in seconds, from that of the check."""
        return min(check_s, self.left_s)

    def open_copy(self, *_: Any) -> Copy:
        """Return the copy to work on."""
        return self.copies.of(self)

    def close_copy(self, *_: Any) -> None:
        """Throw away what no other check uses."""
        self.copies.end()

    def runtest(self) -> None:
        """Run the check to its first false claim."""
        with recorded_claims(lambda _: True):
            pytest.Function.runtest(self)


@dataclass(kw_only=True)
class Judge:
    """Judges mutants, one after the other."""

    writer: Writer
    store: Store
    checks: Mapping[str, pytest.Function]
    """The collected checks by node id."""
    candidates: Mapping[str, Candidate]
    order: Order
    budget_s: float
    clock: Callable[[], float] = time.monotonic

    def judge(self, task: Task) -> Outcome:
        """Return what the checks make of a mutant."""
        began = self.clock()
        mutant = task.mutant
        copies = MutantCopies(bring_up=self.writer.bring_up, fault=fault_of(mutant))
        tried: list[Tried] = []
        fields: dict[str, Any] = {"status": Status.SURVIVED}
        try:
            fields |= self._run(task, copies, tried, began)
        except SameError as error:
            fields = {"status": Status.EQUIVALENT, "why": _short(error)}
        except VoidError as error:
            fields = {"status": Status.VOID, "why": _short(error)}
        finally:
            copies.dispose()
        return Outcome(
            mutant=mutant.id,
            tried=tuple(tried),
            duration_s=round(self.clock() - began, 3),
            **fields,
        )

    def _run(
        self, task: Task, copies: MutantCopies, tried: list[Tried], began: float
    ) -> dict[str, Any]:
        """Run checks until a claim is false; return the fields of the outcome."""
        # 1
        copies.shared(stack=any(self.candidates[one].stack for one in task.checks))
        # 2
        ordered = self.order.of(task)
        for number, nodeid in enumerate(ordered):
            left_s = self.budget_s - (self.clock() - began)
            if left_s <= 0:
                left = tuple(self.candidates[one].criterion for one in ordered[number:])
                return {"left": left, "why": f"{len(left)} checks had no time left"}
            limit_s = limit_of(left_s, self.order.usual_s(nodeid))
            error = self._outcome_of(nodeid, copies, limit_s, tried)
            if error is None:
                continue
            if tried[-1].outcome != FAIL:
                _raise_if_void(error)
                copies.renew()
                continue
            # 3
            without = self._result_without(task.mutant, nodeid)
            if without == PASS:
                return self._killed(nodeid, tried[-1].message)
            message = f"it fails without the mutant too: {without}"
            tried[-1] = tried[-1].model_copy(update={"outcome": UNUSABLE, "message": message})
        # 4
        return {}

    def _killed(self, nodeid: str, finding: str) -> dict[str, Any]:
        candidate = self.candidates[nodeid]
        if candidate.basis:
            raise VoidError(f"the system does not start: {finding}")
        return {"status": Status.KILLED, "criterion": candidate.criterion, "claim": finding}

    def _outcome_of(
        self, nodeid: str, copies: MutantCopies, left_s: float, tried: list[Tried]
    ) -> BaseException | None:
        """Run one check, add what it found, and return what ended it early."""
        began = self.clock()
        criterion = self.candidates[nodeid].criterion
        item = CheckItem.on(self.checks[nodeid], copies, left_s)
        error = self._run_item(item, criterion)
        category, message = ("none", "") if error is None else categorise(error)
        outcome = {"none": PASS, "assertion": FAIL}.get(category, category)
        tried.append(
            Tried(
                criterion=criterion,
                outcome=outcome,
                duration_s=round(self.clock() - began, 3),
                message=self._clean(message),
            )
        )
        self.order.note(nodeid, tried[-1].duration_s)
        return error

    def _run_item(self, item: CheckItem, criterion: str) -> BaseException | None:
        """Set up, call and tear down an item; return the first exception."""
        hook, bring_up = item.ihook, self.writer.bring_up
        scope = Scope(
            part=NAME, item=item.nodeid, criterion=criterion, gate=self.writer.gate_of(criterion)
        )
        labels = ItemLabels(item=item.nodeid, gate=scope.gate or "", criterion=criterion)
        with bring_up.stopwatch.item(labels), self.writer.recorder.in_scope(scope):
            bring_up.watches.begin_item()
            found = [_stage(item, "setup", partial(hook.pytest_runtest_setup, item=item))]
            if found[0] is None:
                found.append(_stage(item, "call", partial(hook.pytest_runtest_call, item=item)))
            found.append(
                _stage(
                    item,
                    "teardown",
                    partial(hook.pytest_runtest_teardown, item=item, nextitem=None),
                )
            )
        bring_up.stopwatch.taken.clear()
        return next((error for error in found if error is not None), None)

    def _result_without(self, mutant: Mutant, nodeid: str) -> str:
        """Return how a check ends on such a copy without the mutant; run it once."""
        criterion = self.candidates[nodeid].criterion
        key = (criterion, mutant.kind, mutant.scope)
        result = self.store.baseline(key)
        if result is None:
            fault = fault_of(mutant)
            copies = MutantCopies(bring_up=self.writer.bring_up, fault=fault, inert=True)
            tried: list[Tried] = []
            try:
                self._outcome_of(nodeid, copies, self.budget_s, tried)
            finally:
                copies.dispose()
            result = tried[0].outcome if tried[0].outcome == PASS else tried[0].message
            self.store.keep_baseline(key, result)
        return result

    def _clean(self, message: str) -> str:
        return self.writer.recorder.clean(first_line(message), LONGEST_MESSAGE)


def limit_of(left_s: float, usual_s: float) -> float:
    """Return the overall limit of a check, in seconds.

    With some mutants a check hangs. So it gets half of what is left, or more if it takes long
    anyway, and the next check gets time too.

    Args:
        left_s: the time that the checks of the mutant have left.
        usual_s: the time that the check takes without a mutant.

    """
    return max(left_s / 2, min(left_s, TIMES_USUAL * usual_s), SHORTEST_S)


class MutantItem(pytest.Item):
    """One mutant; `gateproof.proof.mutation.judging.session` judges it, and never runs the item."""

    task: Task

    @classmethod
    def of(cls, session: pytest.Session, task: Task) -> MutantItem:
        """Create the item of a mutant."""
        item = cls.from_parent(session, name=task.mutant.id)
        item.task = task
        return item

    def runtest(self) -> None:
        """Refuse: the session judges the mutant before it would run."""
        raise NotImplementedError


def _stage(item: pytest.Item, when: Any, act: Callable[[], object]) -> BaseException | None:
    """Run a stage of an item and return its exception, except one that ends the run.

    A report is made as for any item, because plugins wait for it; it is sent nowhere.
    """
    info = pytest.CallInfo.from_call(
        act, when=when, reraise=(KeyboardInterrupt, pytest.exit.Exception)
    )
    item.ihook.pytest_runtest_makereport(item=item, call=info)
    return info.excinfo.value if info.excinfo is not None else None


def _raise_if_void(error: BaseException) -> None:
    """Raise an error that shows that a mutant is void or equivalent; return after any other."""
    if isinstance(error, SameError | VoidError):
        raise error
    if isinstance(error, NotReadyError):
        raise VoidError(f"the system does not start: {error}") from error


def _short(error: BaseException) -> str:
    return one_line(str(error))[:LONGEST_MESSAGE]
