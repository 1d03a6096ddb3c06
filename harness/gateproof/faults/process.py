"""The fault kind `process`: the running worker of a copy is killed, paused, stopped or occupied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateproof.base.errors import HarnessError
from gateproof.faults.interface import Fault

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy

Act = Literal["kill", "pause", "stop", "exhaust"]

DESCRIPTIONS = {
    "kill": "kill the worker with SIGKILL",
    "pause": "pause the worker and its children",
    "stop": "stop the worker with its stop signal",
    "exhaust": "occupy every child of the worker with a long-running task",
}
ANSWER_S, NO_ANSWER_S = 10.0, 1.5
"""How long to wait for a ping's result before and after the fault, in seconds."""


@dataclass(frozen=True, kw_only=True)
class ProcessFault(Fault):
    """An action on the copy's default worker, which is not started again."""

    kind = "process"

    act: Act

    def describe(self) -> str:
        """Return a description of the action."""
        return DESCRIPTIONS[self.act]

    def fingerprint(self, copy: Copy) -> str:
        """Return whether the worker runs, and whether it answers a ping through its queue."""
        stack, ping = copy.stack, copy.sut.ping
        worker = stack.worker
        deadline_s = NO_ANSWER_S if stack.is_left_as_is else ANSWER_S
        task_id = stack.tasks.publish(ping.task, (), ping.arguments)
        silent = stack.tasks.result(task_id, deadline_s=deadline_s).timed_out
        state = "runs" if worker.alive else f"ended with {worker.process.exit_status}"
        return f"{worker.name} {state}, a ping {'stays unanswered' if silent else 'comes back'}"

    def inject(self, copy: Copy) -> None:
        """Perform the action."""
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
        if not copy.sut.describes("ping.hold") or not ping.hold:
            raise HarnessError(
                "ping.hold: got no arguments, expected those with which the ping runs for a "
                f"minute; add them to {copy.sut.path.name}"
            )
        for _ in range(copy.sut.worker.concurrency):
            copy.stack.tasks.publish(ping.task, (), {**ping.arguments, **ping.hold})


def process(name: str, act: Act) -> ProcessFault:
    """Break a claim by an action on the worker.

    Args:
        name: a slug.
        act: ``kill``, ``pause``, ``stop`` or ``exhaust``. It applies to the stack's default worker,
            so it does not affect a check that starts its own workers.

    """
    return ProcessFault(name=name, act=act)
