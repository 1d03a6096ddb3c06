"""Run the described command that replays dead-letter rows, as the operators' role."""

from __future__ import annotations

from gateproof import Completed, InconclusiveError, Stack


def replay_command(stack: Stack) -> list[str]:
    """Return the words of the command.

    Raises:
        InconclusiveError: the description has no such command.

    """
    command = stack.sut.fill(stack.sut.dead_letters.replay)
    if not command:
        raise InconclusiveError(
            f"{stack.sut.path}: dead_letters.replay: got no command, expected one that replays all "
            "rows; add it"
        )
    return command


def replay_all(stack: Stack) -> Completed:
    """Run the command, and return its exit status and output."""
    how = stack.sut.worker
    dsns = {
        name: stack.inner_dsn(stack.sut.roles.operator, form=form) for name, form in how.dsn.items()
    }
    return stack.process.run(
        replay_command(stack),
        env={**how.env, **dsns, **stack.settings},
        folder=stack.sut.folder,
    )
