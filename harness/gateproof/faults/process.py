"""The fault kind `process`: something happens to the worker of a copy while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateproof.base.errors import HarnessError
from gateproof.faults.interface import Fault

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy

Act = Literal["kill", "pause", "stop", "exhaust"]

WORDS = {
    "kill": "kill the worker outright (SIGKILL)",
    "pause": "freeze the worker and its children",
    "stop": "end the worker by its stop signal",
    "exhaust": "occupy every child of the worker with a task that goes on",
}
ANSWER_S, NO_ANSWER_S = 10.0, 1.5
"""How long a ping may take before the fault, and how long none must come after it."""


@dataclass(frozen=True, kw_only=True)
class ProcessFault(Fault):
    """An act on the copy's default worker, which nobody starts again."""

    kind = "process"

    act: Act

    def describe(self) -> str:
        """Return the act in words."""
        return WORDS[self.act]

    def fingerprint(self, copy: Copy) -> str:
        """Return whether the worker runs, and whether a ping through its queue comes back."""
        stack, ping = copy.stack, copy.sut.ping
        worker = stack.worker
        deadline_s = NO_ANSWER_S if stack.is_left_as_is else ANSWER_S
        task_id = stack.tasks.publish(ping.task, (), ping.arguments)
        silent = stack.tasks.result(task_id, deadline_s=deadline_s).timed_out
        state = "runs" if worker.alive else f"ended with {worker.process.exit_status}"
        return f"{worker.name} {state}, a ping {'stays unanswered' if silent else 'comes back'}"

    def inject(self, copy: Copy) -> None:
        """Carry out the act."""
        worker = copy.stack.leave_worker_as_is()
        if self.act == "kill":
            worker.kill()
        elif self.act == "pause":
            worker.pause()
        elif self.act == "stop":
            worker.stop()
        else:
            self._exhaust(copy)

    def _exhaust(self, copy: Copy) -> None:
        ping = copy.sut.ping
        if not ping.hold:
            raise HarnessError(
                "ping.hold: got no arguments, expected those with which the ping goes on for a "
                f"minute; add them to {copy.sut.path.name}"
            )
        for _ in range(copy.sut.worker.concurrency):
            copy.stack.tasks.publish(ping.task, (), {**ping.arguments, **ping.hold})


def process(name: str, act: Act) -> ProcessFault:
    """Break a claim by what happens to the worker.

    Args:
        name: a plain slug.
        act: ``kill``, ``pause``, ``stop`` or ``exhaust``; on the stack's default worker, so it says
            nothing to a check that starts workers of its own.

    """
    return ProcessFault(name=name, act=act)
