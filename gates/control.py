"""Queries and commands to workers, sent with Celery's own command line."""

from __future__ import annotations

from gateproof import Completed, Stack

ANSWER_TIMEOUT_S = "10"
"""How long the command waits for the worker's answer. It ends with the answer, because it knows
whose answer it waits for; a command to all workers waits for the whole time."""

NODE = "asked@gate"
NAMED = (f"--hostname={NODE}",)
"""Options of the worker that gets the commands: its node name."""


def celery(stack: Stack, group: str, *words: str) -> Completed:
    """Run a remote-control command of Celery for the worker that was started with `NAMED`.

    Args:
        stack: the stack of the worker.
        group: ``inspect`` or ``control``.
        words: the command, followed by its arguments.

    """
    command = [*stack.sut.fill(["{python}", "-m", "celery"]), "--app", stack.sut.celery.app]
    return stack.process.run(
        [*command, group, "--timeout", ANSWER_TIMEOUT_S, "--destination", NODE, *words],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
