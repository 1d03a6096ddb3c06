"""Asking and telling workers with Celery's own command."""

from __future__ import annotations

from gateproof import Completed, Stack

PATIENCE_S = "3"
"""How long the command waits for answers."""


def celery(stack: Stack, group: str, *words: str) -> Completed:
    """Run a command of Celery's on the system's app.

    Args:
        stack: whose workers are meant.
        group: ``inspect`` or ``control``.
        words: what is asked or told, with its own words.

    """
    command = [*stack.sut.fill(["{python}", "-m", "celery"]), "--app", stack.sut.celery.app]
    return stack.process.run(
        [*command, group, "--timeout", PATIENCE_S, *words],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
