"""Queries and commands to workers, sent with Celery's own command line."""

from __future__ import annotations

from gateproof import Completed, Stack

ANSWER_TIMEOUT_S = "3"
"""How long the command waits for the workers' answers."""


def celery(stack: Stack, group: str, *words: str) -> Completed:
    """Run a remote-control command of Celery for the system's app.

    Args:
        stack: the stack whose workers get the command.
        group: ``inspect`` or ``control``.
        words: the command, followed by its arguments.

    """
    command = [*stack.sut.fill(["{python}", "-m", "celery"]), "--app", stack.sut.celery.app]
    return stack.process.run(
        [*command, group, "--timeout", ANSWER_TIMEOUT_S, *words],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
