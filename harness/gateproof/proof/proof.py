"""The proof that a check can fail: the same check on a throw-away copy, before and after a fault.

One pytest item a criterion and falsifier, made at collection, so that selection and progress work
on proofs as on checks. The steps, by number:

1. a copy of the stack (a database cloned from the template; a server of its own for faults on
   what all databases share), made by the fixtures;
2. the check runs on the copy and must be green; in the first proof of a check twice, since a check
   that only bears one run would go red after the fault whatever the fault is;
3. the object that the fault changes is looked at;
4. the fault is injected;
5. the object is looked at again: it must look different;
6. the check runs again and must fail, by an assertion, with the predicted message;
7. the copy is thrown away.

What happened is recorded; `gateproof_evidence.judging.proof` says what it is worth. For the kill
matrix a check goes through the same steps with the falsifiers of other checks of its gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from gateproof.base.errors import HarnessError, LimitError
from gateproof.faults.interface import Fault
from gateproof.probes.recorder import Recorder, Scope
from gateproof.run.declaration import Falsifier
from gateproof.run.stage import MESSAGE_LIMIT, categorise
from gateproof.run.writer import WRITER
from gateproof.stack.copy import Copy
from gateproof_evidence.judging.proof import judge_proof
from gateproof_evidence.model import (
    CellEvent,
    Digest,
    Falsification,
    ProofEvent,
    Story,
    TakenOverEvent,
)
from gateproof_evidence.verification.earlier import Earlier

COPY_FIXTURE = "proof_copy"
OWN_SERVER_FIXTURE = "own_server_stack"
RUNS = 3
"""How often a proof runs its check at most."""

STACK_FIXTURES = frozenset({"stack", "own_stack", OWN_SERVER_FIXTURE})


S = TypeVar("S", bound=Story)


class NotProvenError(Exception):
    """The falsifier did not turn the check red for the predicted reason."""


class ProofItem(pytest.Function):
    """A check and one of its falsifiers, or one of another check of its gate."""

    check: str
    """Node id of the check that is proven."""
    falsifier: Falsifier
    owner: str | None
    """The criterion that the falsifier belongs to, where it is another's."""
    again: bool
    """Whether the check must be seen green twice before the fault."""

    @classmethod
    def beside(
        cls, check: pytest.Function, falsifier: Falsifier, *, owner: str | None = None
    ) -> ProofItem:
        """Make the item that belongs to a check."""
        name = f"proof-{falsifier.fault.name}"
        if owner:
            name = f"cell-{owner}-{falsifier.fault.name}"
        item: ProofItem = cls.from_parent(
            check.parent, name=f"{check.originalname}[{name}]", callobj=check.obj
        )
        # Set here and not above: pytest would make it the node id, which the check has already.
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
        """What its observations are recorded as."""
        name = self.falsifier.fault.name
        return f"cell:{self.owner}-{name}" if self.owner else f"proof:{name}"

    @property
    def needs_stack(self) -> bool:
        """Whether the check works on a stack."""
        return bool(STACK_FIXTURES & set(self.fixturenames))

    @property
    def needs_own_server(self) -> bool:
        """Whether the copy needs a server of its own."""
        return self.falsifier.fault.scope == "server" or OWN_SERVER_FIXTURE in self.fixturenames

    def runtest(self) -> None:
        """Run the proof; anything but `proven` is a failure of this item."""
        recorder, copy = self.funcargs["recorder"], self.funcargs[COPY_FIXTURE]
        assert isinstance(recorder, Recorder)
        assert isinstance(copy, Copy)
        fault, expect = self.falsifier.fault, self.falsifier.expect
        told: dict[str, Any] = {"recorder": recorder, "copy": copy, "again": self.again}
        told["criterion"] = recorder.scope.criterion
        if self.owner is not None:
            tell_story(CellEvent, fault, expect, super().runtest, owner=self.owner, **told)
            return
        writer = self.config.stash[WRITER]
        depends = writer.dependence.digest(self.check, self.falsifier)
        if self._takes_over(recorder, writer.earlier, depends):
            return
        event = tell_story(ProofEvent, fault, expect, super().runtest, depends=depends, **told)
        result, message = judge_proof(event)
        if result is not Falsification.PROVEN:
            raise NotProvenError(f"{result}: {message}")

    def _takes_over(self, recorder: Recorder, earlier: Earlier | None, depends: Digest) -> bool:
        """Record that an earlier bundle has this proof, where it has."""
        criterion = recorder.scope.criterion
        assert criterion is not None
        if earlier is None:
            return False
        found = earlier.proofs.get((criterion, self.falsifier.fault.name, depends))
        if found is None:
            return False
        recorder.journal.append(
            TakenOverEvent,
            item=recorder.scope.item,
            criterion=criterion,
            falsifier=self.falsifier.fault.name,
            attestation=earlier.digest,
            story=found.story,
        )
        return True

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any) -> str:
        """Show the verdict alone: the trace of an expected red explains nothing."""
        if isinstance(excinfo.value, NotProvenError):
            return f"{self.falsifier.fault.describe()}\n{excinfo.value}"
        return str(super().repr_failure(excinfo))


def tell_story(
    kind: type[S],
    fault: Fault,
    expect: str,
    check: Callable[[], object],
    *,
    recorder: Recorder,
    copy: Copy,
    again: bool,
    **fields: Any,
) -> S:
    """Go through steps 2 to 6 and record them, whatever happens.

    Args:
        kind: of the record.
        fault: what is injected.
        expect: part of the message with which the check must then fail.
        check: runs the check once.
        recorder: takes the record.
        copy: what the fault is injected into.
        again: whether the check must be seen green twice.
        **fields: further fields of the record.

    """
    told: dict[str, Any] = {}
    base = recorder.scope
    try:
        fault.prepare(copy)
        # 2
        told["baseline"] = _run(check, recorder, base, "baseline")[1]
        told["baseline_runs"] = 1
        if told["baseline"] == "pass" and again:
            second = _run(check, recorder, base, "baseline-again")[1]
            told["baseline"] = second if second == "pass" else f"on its second run: {second}"
            told["baseline_runs"] = 2
        if told["baseline"] == "pass":
            # 3, 4, 5
            with recorder.on_behalf_of(_part(base, "landing")):
                told.update(_inject(fault, copy))
        if told.get("fingerprint_after") is not None:
            # 6
            told["faulted_category"], told["faulted"] = _run(check, recorder, base, "faulted")
    except LimitError as error:
        told.update(faulted_category="limit", faulted=str(error))
    except HarnessError as error:
        told["refusal"] = str(error)
    finally:
        words = {name: value for name, value in told.items() if isinstance(value, str)}
        event = recorder.journal.append(
            kind,
            item=base.item,
            falsifier=fault.name,
            fault_kind=fault.kind,
            fault=recorder.clean(fault.describe()),
            expected=expect,
            restoration="the copy is thrown away",
            **{
                **told,
                **{name: recorder.clean(value) for name, value in words.items()},
            },
            **fields,
        )
    return event


def _inject(fault: Fault, copy: Copy) -> dict[str, str]:
    """Look, change, look again; a change that was refused is told, never counted."""
    told: dict[str, str] = {}
    try:
        told["fingerprint_before"] = fault.fingerprint(copy)
        fault.inject(copy)
        told["fingerprint_after"] = fault.fingerprint(copy)
    except LimitError:
        raise
    except Exception as error:  # noqa: BLE001 (a denied fault is a void proof, whatever denied it)
        told["refusal"] = f"{type(error).__name__}: {error}"
    return told


def _run(
    check: Callable[[], object], recorder: Recorder, base: Scope, step: str
) -> tuple[str, str]:
    """Run the check once; return the category and message of what it raised, or ``pass``."""
    with recorder.on_behalf_of(_part(base, step)):
        try:
            check()
        except LimitError:
            raise
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:  # noqa: BLE001 (whatever a check says is recorded)
            category, message = categorise(error)
            return category, recorder.clean(message, MESSAGE_LIMIT)
    return "none", "pass"


def _part(base: Scope, step: str) -> Scope:
    return Scope(
        part=f"{base.part}:{step}", item=base.item, criterion=base.criterion, gate=base.gate
    )


def demand_second_runs(items: list[pytest.Item]) -> None:
    """Have the first proof of each check see it green twice."""
    seen: set[str] = set()
    for item in items:
        if isinstance(item, ProofItem) and item.check not in seen and item.owner is None:
            seen.add(item.check)
            item.again = True
