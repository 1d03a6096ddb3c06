"""Run the described command that replays dead-letter rows, as the operators' role."""

from __future__ import annotations

from gateproof import Completed, Stack


def replay_command(stack: Stack) -> list[str]:
    """Return the words of the command."""
    return stack.sut.fill(stack.sut.dead_letters.replay)


def replay_all(stack: Stack) -> Completed:
    """Run the command, and return its exit status and output."""
    how, role = stack.sut.worker, stack.sut.dead_letters.operator
    dsns = {name: stack.inner_dsn(role, form=form) for name, form in how.dsn.items()}
    return stack.process.run(
        replay_command(stack),
        env={**how.env, **dsns, **stack.settings},
        folder=stack.sut.folder,
    )
