"""The proof that a check can fail: the same check on a throw-away copy, before and after a fault.

Each pair of criterion and falsifier is one pytest item, created at collection, so that selection
and progress work on proofs as they do on checks. The steps of a proof:

1. The fixtures make a copy of the stack: a database cloned from the template or, for faults on what
   all databases share, a separate server.
2. In the first proof of a check, the check runs on the copy and must pass.
3. In the first proof of a check on each kind of copy, something is changed that does not matter,
   and the check must pass: a check that cannot run twice, or that any change makes fail, would fail
   after any fault. The later proofs refer to this one, see `gateproof.proof.baseline`.
4. The state of the object that the fault changes is read.
5. The fault is injected.
6. The state of the object is read again, and must differ.
7. The check runs again and must have the predicted finding: a claim that does not hold, with the
   predicted name and object. It ends there: what follows cannot make it pass. A thorough run, and
   a cell of the kill matrix, run it to its end.
8. The copy is thrown away.

The steps are recorded; `gateproof_evidence.judging.proof` judges the record. For the kill matrix, a
check goes through the same steps with the falsifiers of the other checks of its gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from gateproof.base.errors import HarnessError, LimitError
from gateproof.faults.falsifier import Falsifier, Prediction
from gateproof.faults.interface import Fault
from gateproof.probes.claims.statement import recorded_claims
from gateproof.probes.recorder import Recorder, Scope
from gateproof.proof.baseline import Baselines, SharedBaseline, shape_of
from gateproof.run.dependence.digest import digest_of_frame
from gateproof.run.stage import MESSAGE_LIMIT, categorise
from gateproof.run.writer import WRITER
from gateproof.stack.bring_up import BringUp
from gateproof.stack.copy import Copy
from gateproof.stack.stack import Running
from gateproof.stack.stopwatch import BASELINE, FAULTED, LANDING
from gateproof_evidence.judging.claim import PredictedClaim, false_claims, why_not_green
from gateproof_evidence.judging.proof import judge_proof, with_baseline
from gateproof_evidence.judging.verdict import FAULTED as FAULTED_STEP
from gateproof_evidence.model import (
    CellEvent,
    Falsification,
    ProofEvent,
    Story,
)

COPY_FIXTURE = "proof_copy"
OWN_SERVER_FIXTURE = "own_server_stack"
EMPTY_FIXTURE = "empty_stack"
RUNS = 3
"""The maximum number of times that a proof runs its check."""

BASELINES: pytest.StashKey[Baselines] = pytest.StashKey()
"""The baselines that this process has run."""

STACK_FIXTURES = frozenset({"stack", "own_stack", OWN_SERVER_FIXTURE, EMPTY_FIXTURE})


S = TypeVar("S", bound=Story)


class NotProvenError(Exception):
    """The check did not fail for the predicted reason under the falsifier."""


class ProofItem(pytest.Function):
    """A check with one of its falsifiers, or with one of another check of its gate."""

    check: str
    """Node id of the check that is proven."""
    falsifier: Falsifier
    owner: str | None
    """The criterion of the falsifier, if it belongs to another check; None for a proof."""
    again: bool
    """Whether the check must pass twice before the fault."""

    @classmethod
    def of_check(
        cls, check: pytest.Function, falsifier: Falsifier, *, owner: str | None = None
    ) -> ProofItem:
        """Create the item of a check and a falsifier."""
        name = f"proof-{falsifier.fault.name}"
        if owner:
            name = f"cell-{owner}-{falsifier.fault.name}"
        item: ProofItem = cls.from_parent(
            check.parent, name=f"{check.originalname}[{name}]", callobj=check.obj
        )
        # Set here and not above: pytest would use it as the node id, which the check already has.
        item.originalname = check.originalname
        item.check = check.nodeid
        item.falsifier = falsifier
        item.owner = owner
        item.again = False
        item.fixturenames.extend(
            name for name in ("recorder", COPY_FIXTURE) if name not in item.fixturenames
        )
        return item

    @property
    def part(self) -> str:
        """The part under which its observations are recorded."""
        name = self.falsifier.fault.name
        return f"cell:{self.owner}-{name}" if self.owner else f"proof:{name}"

    @property
    def needs_stack(self) -> bool:
        """Whether the check works on a stack."""
        return bool(STACK_FIXTURES & set(self.fixturenames))

    @property
    def shares_stack(self) -> bool:
        """Whether the check leaves nothing behind on the stack, so that others can use it too."""
        return STACK_FIXTURES & set(self.fixturenames) == {"stack"}

    @property
    def needs_migrations(self) -> bool:
        """Whether the check works on a database that is migrated already."""
        return EMPTY_FIXTURE not in self.fixturenames

    @property
    def on_machine(self) -> bool:
        """Whether the check runs the system's code on the machine of the harness alone."""
        places = {"machine", "commands"} & set(self.fixturenames)
        return places == {"machine"} and not self.needs_stack

    @property
    def needs_own_server(self) -> bool:
        """Whether the copy needs its own server."""
        return self.falsifier.fault.scope == "server" or OWN_SERVER_FIXTURE in self.fixturenames

    def limit_s(self, check_s: float) -> float:
        """Return the overall limit, in seconds, from that of the check."""
        return check_s * RUNS

    def open_copy(self, bring_up: BringUp) -> Copy:
        """Return the copy to work on; `close_copy` ends it."""
        return Copy.make(
            bring_up,
            tree=self.falsifier.fault.tree,
            own_server=self.needs_own_server,
            needs_stack=self.needs_stack,
            migrated=self.needs_migrations,
            on_machine=self.on_machine,
        )

    def close_copy(self, copy: Copy) -> None:
        """Throw the copy away."""
        copy.dispose()

    def runtest(self) -> None:
        """Run the proof; any result but `proven` fails this item."""
        recorder, copy = self.funcargs["recorder"], self.funcargs[COPY_FIXTURE]
        assert isinstance(recorder, Recorder)
        assert isinstance(copy, Copy)
        fault, expect = self.falsifier.fault, self.falsifier.expect
        fields: dict[str, Any] = {"recorder": recorder, "copy": copy, "again": self.again}
        fields["criterion"] = recorder.scope.criterion
        if self.owner is not None:
            fields |= {"owner": self.owner, "whole": True}
            run_steps(CellEvent, fault, expect, super().runtest, **fields)
            return
        writer = self.config.stash[WRITER]
        fields["whole"] = writer.options.falsify.thorough
        frame = writer.dependencies.frame(self.path, recorder.scope.criterion or "", self.falsifier)
        baselines = self.config.stash.setdefault(BASELINES, Baselines(shared=not fields["whole"]))
        # Items can come in another order than that of the file: the first one runs its own.
        shared = None if self.again else baselines.find(self.check, shape_of(fault, copy))
        event, running = run_steps(
            ProofEvent,
            fault,
            expect,
            super().runtest,
            depends=digest_of_frame(frame),
            shared=shared,
            **fields,
        )
        baselines.keep(self.check, event, running)
        others = {shared.story.falsifier: shared.story} if shared else {}
        result, message = judge_proof(with_baseline(event, others))
        if result is not Falsification.PROVEN:
            raise NotProvenError(f"{result}: {message}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any) -> str:
        """Return only the verdict: the traceback of an expected failure explains nothing."""
        if isinstance(excinfo.value, NotProvenError):
            return f"{self.falsifier.fault.describe()}\n{excinfo.value}"
        return str(super().repr_failure(excinfo))


def run_steps(
    kind: type[S],
    fault: Fault,
    expect: Prediction,
    check: Callable[[], object],
    *,
    recorder: Recorder,
    copy: Copy,
    again: bool,
    shared: SharedBaseline | None = None,
    whole: bool = False,
    **fields: Any,
) -> tuple[S, Running]:
    """Run steps 2 to 7 and record them, even if one fails.

    Args:
        kind: the class of the record.
        fault: the fault to inject.
        expect: the finding that the check must then have.
        check: runs the check once.
        recorder: receives the record.
        copy: the copy into which the fault is injected.
        again: whether the check must also pass before the change that does not matter.
        shared: the baseline of an earlier proof, which counts for this one too.
        whole: whether the check runs to its end under the fault, although it has the predicted
            finding already.
        **fields: further fields of the record.

    Returns:
        The record, and the processes that ran after the baseline.

    """
    steps: dict[str, Any] = {"shape": shape_of(fault, copy)}
    base, stopwatch = recorder.scope, copy.bring_up.stopwatch
    running = shared.running if shared else Running()
    try:
        fault.prepare(copy)
        # 2, 3
        if shared is None:
            with stopwatch.step(BASELINE):
                _run_baseline(steps, check, fault, copy, recorder, again=again)
            running, green = copy.running, steps["baseline"] == "pass"
        else:
            steps["baseline_of"], green = shared.story.falsifier, shared.story.baseline == "pass"
            if green and not fault.restarts:
                copy.start_like(running)
        if green:
            # 4, 5, 6
            with stopwatch.step(LANDING), recorder.in_scope(_part(base, "landing")):
                steps.update(_inject(fault, copy))
        if steps.get("fingerprint_after") is not None:
            # 7
            predicted = None if whole else _predicted(fault, expect, recorder)
            steps.update(_run_faulted(check, recorder, copy, predicted))
    except LimitError as error:
        steps.update(faulted_category="limit", faulted=str(error))
    except HarnessError as error:
        steps["refusal"] = str(error)
    finally:
        predicted = _predicted(fault, expect, recorder)
        event = recorder.journal.append(
            kind,
            item=base.item,
            falsifier=fault.name,
            fault_kind=fault.kind,
            fault=recorder.clean(fault.describe()),
            expected=predicted.text,
            expected_claim=predicted.name,
            expected_on=predicted.on,
            target=predicted.target,
            restoration="the copy is thrown away",
            **_cleaned(steps, recorder),
            **fields,
        )
    return event, running


def _run_faulted(
    check: Callable[[], object], recorder: Recorder, copy: Copy, predicted: PredictedClaim | None
) -> dict[str, Any]:
    """Run the check under the fault, to the predicted finding or, without one, to its end."""
    until = predicted.is_met_by if predicted else None
    with copy.bring_up.stopwatch.step(FAULTED), recorded_claims(until) as claims:
        category, message = _run(check, recorder, recorder.scope, FAULTED_STEP)
    category, message = _unless_full(category, message, copy)
    return {
        "findings": false_claims(claims),
        "faulted_category": category,
        "faulted": message,
    }


def _predicted(fault: Fault, expect: Prediction, recorder: Recorder) -> PredictedClaim:
    """Return the finding that the fault must cause, as its record has it."""
    return PredictedClaim(
        name=expect.claim,
        on=recorder.clean(fault.complete(expect.on)),
        text=recorder.clean(fault.complete(expect.text)),
        target=recorder.clean(fault.complete(fault.target)),
    )


def _cleaned(steps: dict[str, Any], recorder: Recorder) -> dict[str, Any]:
    """Return the fields of a record with redacted texts."""
    return {
        name: recorder.clean(value) if isinstance(value, str) else value
        for name, value in steps.items()
    }


def _run_baseline(
    steps: dict[str, Any],
    check: Callable[[], object],
    fault: Fault,
    copy: Copy,
    recorder: Recorder,
    *,
    again: bool,
) -> None:
    """Run the check before the fault, the last time after a change that does not matter.

    Args:
        steps: receives ``baseline``, ``baseline_runs`` and ``control``. The number of runs stays 0
            if an error ends this before the last run.
        check: runs the check once.
        fault: makes the change that does not matter.
        copy: the copy.
        recorder: receives the observations.
        again: whether the check must also pass before that change.

    """
    base, prefix = recorder.scope, ""
    if again:
        first = _run_green(check, recorder, base, "baseline")
        if first != "pass":
            steps.update(baseline=first, baseline_runs=1)
            return
        steps["baseline"] = "it ended before its second run"
        prefix = "on its second run, "
    with recorder.in_scope(_part(base, "control")):
        steps["control"] = fault.change_inertly(copy)
    last = _run_green(check, recorder, base, "baseline-again" if again else "baseline")
    steps["baseline_runs"] = 2 if again else 1
    if last != "pass":
        changed = f"after a change that does not matter ({steps['control']}): "
        last = f"{prefix}{changed if steps['control'] else ''}{last}"
    steps["baseline"] = recorder.clean(last, MESSAGE_LIMIT)


def _inject(fault: Fault, copy: Copy) -> dict[str, str]:
    """Read the state, inject the fault, read the state again; return a refusal, if any."""
    steps: dict[str, str] = {}
    try:
        steps["fingerprint_before"] = fault.fingerprint(copy)
        fault.inject(copy)
        steps["fingerprint_after"] = fault.fingerprint(copy)
    except LimitError:
        raise
    except Exception as error:  # noqa: BLE001 (a fault that fails in any way makes the proof void)
        steps["refusal"] = f"{type(error).__name__}: {error}"
    return steps


def _run(
    check: Callable[[], object], recorder: Recorder, base: Scope, step: str
) -> tuple[str, str]:
    """Run the check once; return category and message of its exception, or ``pass``."""
    with recorder.in_scope(_part(base, step)):
        try:
            check()
        except LimitError:
            raise
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:  # noqa: BLE001 (every exception of a check is recorded)
            category, message = categorise(error)
            return category, recorder.clean(message, MESSAGE_LIMIT)
    return "none", "pass"


def _run_green(check: Callable[[], object], recorder: Recorder, base: Scope, step: str) -> str:
    """Run the check before the fault; return ``pass``, or why this run shows nothing.

    A check that states no claim could have judged nothing, and is not green.
    """
    with recorded_claims() as claims:
        message = _run(check, recorder, base, step)[1]
    if message != "pass":
        return message
    return why_not_green(claims) or message


def _unless_full(category: str, message: str, copy: Copy) -> tuple[str, str]:
    """Return how a check failed: on a full disk, not because of the fault."""
    problem = copy.bring_up.disk_problem() if category == "assertion" else ""
    return ("environment", f"{problem}; {message}") if problem else (category, message)


def _part(base: Scope, step: str) -> Scope:
    return Scope(
        part=f"{base.part}:{step}", item=base.item, criterion=base.criterion, gate=base.gate
    )


def require_second_runs(items: list[pytest.Item]) -> None:
    """Require two passes before the fault in the first proof of each check."""
    seen: set[str] = set()
    for item in items:
        if isinstance(item, ProofItem) and item.check not in seen and item.owner is None:
            seen.add(item.check)
            item.again = True
