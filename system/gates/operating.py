"""Run a list of operators' commands in one interpreter, and judge what each prints and ends with.

Owns the form of a step and its claims. The rows and the steps are those of the checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateproof import Stack, claim

from .calls import Command, Ended, run_commands

STATUS, ROWS = "exit status of the command", "rows in the output"
OUTPUT, MESSAGE = "output of the command", "last line of the messages"
"""Names of claims that falsifiers predict."""

DONE, NOT_DONE, USAGE, DATABASE = 0, 1, 2, 3
"""The published exit statuses."""
NOTHING_THERE = "postgresql://a:b@127.0.0.1:1/c"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command and what it must do."""

    words: Sequence[str]
    status: int = DONE
    rows: Sequence[str] | None = None
    """Names of the rows whose ids are in its output, one JSON object a line."""
    lines: Sequence[Any] | None = None
    """The lines of its output: texts, or values of JSON."""
    message: str | None = ""
    """The last line of its messages."""
    env: Mapping[str, str] = field(default_factory=dict)


def operate(
    stack: Stack, module: str, folder: Path, steps: Mapping[str, Step], env: Mapping[str, str]
) -> list[Ended]:
    """Run the commands of a module as the operators' role, in the order of the steps."""
    how, role = stack.sut.worker, stack.sut.dead_letters.operator
    dsns = {name: stack.inner_dsn(role, form=form) for name, form in how.dsn.items()}
    commands = [Command(module=module, words=one.words, env=one.env) for one in steps.values()]
    variables = {**how.env, **dsns, **stack.settings, **env}
    return run_commands(stack.process, stack.sut, folder, commands, variables)


def judge(steps: Mapping[str, Step], ended: Sequence[Ended], names: Mapping[str, str]) -> None:
    """Judge each command.

    Args:
        steps: by what each does.
        ended: the ends in the same order.
        names: the names of the rows by their ids, for people.

    """
    for (on, step), end in zip(steps.items(), ended, strict=False):
        claim(STATUS, on=on, got=end.status, expected=step.status)
        if step.rows is not None:
            got = [_name(one, names) for one in end.lines]
            claim(ROWS, on=on, got=got, expected=list(step.rows))
        if step.lines is not None:
            claim(OUTPUT, on=on, got=end.lines, expected=list(step.lines))
        if step.message is not None:
            last = end.errors.strip().rpartition("\n")[2]
            claim(MESSAGE, on=on, got=last, expected=step.message)


def _name(line: Any, names: Mapping[str, str]) -> str:
    """Return the name of the row in a line of JSON; a text for any other line."""
    if not isinstance(line, dict):
        return f"no JSON: {line}"
    return names.get(str(line.get("id")), "a row of another id")
