"""The proof that a check can fail: the same check on a throw-away copy, before and after a fault.

One pytest item a criterion and falsifier, made at collection, so that selection and progress work
on proofs as on checks. The steps, by number:

1. a copy of the stack (a database cloned from the template; a server of its own for faults on
   what all databases share), made by the fixtures;
2. the check runs on the copy twice and must be green both times: a check that only bears one run
   would go red after the fault whatever the fault is;
3. the object that the fault changes is looked at;
4. the fault is injected;
5. the object is looked at again: it must look different;
6. the check runs again and must fail, by an assertion, with the predicted message;
7. the copy is thrown away.

What happened is recorded; `evidence.verdict.judge_proof` says what it is worth.
"""

from __future__ import annotations

from typing import Any

import pytest

from evidence.model import Falsification, ProofEvent
from evidence.verdict import judge_proof
from harness.copies import Copy
from harness.declarations import Falsifier
from harness.errors import HarnessError, LimitError
from harness.faults.interface import Fault
from harness.phases import categorise
from harness.probes.recorder import Recorder, Scope

COPY_FIXTURE = "proof_copy"
OWN_SERVER_FIXTURE = "own_server_stack"
STACK_FIXTURES = frozenset({"stack", "own_stack", OWN_SERVER_FIXTURE})


class NotProvenError(Exception):
    """The falsifier did not turn the check red for the predicted reason."""


class ProofItem(pytest.Function):
    """A check and one of its falsifiers."""

    check: str
    """Node id of the check that is proven."""
    falsifier: Falsifier

    @classmethod
    def beside(cls, check: pytest.Function, falsifier: Falsifier) -> ProofItem:
        """Make the proof item that belongs to a check."""
        item: ProofItem = cls.from_parent(
            check.parent,
            name=f"{check.originalname}[proof-{falsifier.fault.name}]",
            callobj=check.obj,
        )
        # Set here and not above: pytest would make it the node id, which the check has already.
        item.originalname = check.originalname
        item.check = check.nodeid
        item.falsifier = falsifier
        item.fixturenames.extend(
            name for name in ("recorder", COPY_FIXTURE) if name not in item.fixturenames
        )
        return item

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
        event = prove(self, recorder, copy)
        result, message = judge_proof(event)
        if result is not Falsification.PROVEN:
            raise NotProvenError(f"{result}: {message}")

    def run_check(self) -> None:
        """Run the check's own function once, as pytest would."""
        super().runtest()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any) -> str:
        """Show the verdict alone: the trace of an expected red explains nothing."""
        if isinstance(excinfo.value, NotProvenError):
            return f"{self.falsifier.fault.describe()}\n{excinfo.value}"
        return str(super().repr_failure(excinfo))


def prove(item: ProofItem, recorder: Recorder, copy: Copy) -> ProofEvent:
    """Go through steps 2 to 6 and record them, whatever happens."""
    fault = item.falsifier.fault
    told: dict[str, Any] = {}
    base = recorder.scope
    try:
        fault.prepare(copy)
        # 2
        told["baseline"] = _run(item, recorder, base, "baseline")[1]
        if told["baseline"] == "pass":
            again = _run(item, recorder, base, "baseline-again")[1]
            told["baseline"] = again if again == "pass" else f"on its second run: {again}"
        if told["baseline"] == "pass":
            # 3, 4, 5
            with recorder.on_behalf_of(_part(base, "landing")):
                told.update(_inject(fault, copy))
        if told.get("fingerprint_after") is not None:
            # 6
            told["faulted_category"], told["faulted"] = _run(item, recorder, base, "faulted")
    except LimitError as error:
        told.update(faulted_category="limit", faulted=str(error))
    except HarnessError as error:
        told["refusal"] = str(error)
    finally:
        event = recorder.journal.append(
            ProofEvent,
            item=item.nodeid,
            criterion=base.criterion,
            falsifier=fault.name,
            fault_kind=fault.kind,
            fault=recorder.redactor.redact(fault.describe()).text,
            expected=item.falsifier.expect,
            restoration="the copy is thrown away",
            **{name: recorder.redactor.redact(value).text for name, value in told.items()},
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


def _run(item: ProofItem, recorder: Recorder, base: Scope, step: str) -> tuple[str, str]:
    """Run the check once; return the category and message of what it raised, or ``pass``."""
    with recorder.on_behalf_of(_part(base, step)):
        try:
            item.run_check()
        except LimitError:
            raise
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:  # noqa: BLE001 (whatever a check says is recorded)
            return categorise(error)
    return "none", "pass"


def _part(base: Scope, step: str) -> Scope:
    return Scope(
        part=f"{base.part}:{step}", item=base.item, criterion=base.criterion, gate=base.gate
    )
