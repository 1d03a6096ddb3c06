"""Run the operators' command as their role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateproof import Completed, Stack


def run_command(
    stack: Stack, words: Sequence[str], env: Mapping[str, str] | None = None
) -> Completed:
    """Run the command, and return its exit status and output."""
    how = stack.sut.worker
    dsns = {
        name: stack.inner_dsn(stack.sut.roles.operator, form=form) for name, form in how.dsn.items()
    }
    return stack.process.run(
        [*stack.sut.fill(["{python}", "-m", "system.dead_letters"]), *words],
        env={**how.env, **dsns, **(env or {}), **stack.settings},
        folder=stack.sut.folder,
    )
