"""Have commands and functions of the system called in one interpreter, for checks of many cases.

Owns passing the calls and reading the answers. `caller` runs them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateproof import ProcessProbe, Sut, claim

PROGRAM = Path(__file__).with_name("caller.py")
LONGEST = 20_000
"""The greatest number of characters of the calls that are passed as an argument."""
ANSWERED = "calls that were answered"
"""The name of a claim: a check judges nothing further when it is false."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the system, as `python -m MODULE WORDS...`."""

    module: str
    words: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The end of a command."""

    status: int
    output: str
    errors: str

    @property
    def lines(self) -> list[Any]:
        """The JSON values of its output, one a line; a line that is none as text."""
        return [_json(line) for line in self.output.splitlines()]


def run_commands(
    machine: ProcessProbe,
    sut: Sut,
    folder: Path,
    commands: Sequence[Command],
    env: Mapping[str, str] | None = None,
) -> list[Ended]:
    """Run commands one after the other, and claim that each ended.

    Args:
        machine: runs the interpreter.
        sut: the system.
        folder: an existing folder, for calls that are too long for an argument.
        commands: in their order.
        env: variables of the interpreter.

    Returns:
        The ends in the same order; none if the interpreter did not answer.

    """
    return [Ended(**one) for one in _called(machine, sut, folder, list(map(vars, commands)), env)]


def call_functions(
    machine: ProcessProbe, sut: Sut, folder: Path, calls: Sequence[tuple[str, Sequence[Any]]]
) -> list[Mapping[str, Any]]:
    """Call functions, each given as *module:name* with its arguments, and claim their answers.

    Returns:
        For each a mapping with `value` and `shown` (its representation), or with `error`; none if
        the interpreter did not answer.

    """
    asked = [{"function": name, "arguments": list(arguments)} for name, arguments in calls]
    return _called(machine, sut, folder, asked, None)


def _called(
    machine: ProcessProbe,
    sut: Sut,
    folder: Path,
    asked: Sequence[Mapping[str, Any]],
    env: Mapping[str, str] | None,
) -> list[Any]:
    text = json.dumps(asked)
    if len(text) > LONGEST:
        file = folder / "calls.json"
        file.write_text(text, encoding="utf-8")
        text = str(file)
    command = [*sut.fill(["{python}", "-c"]), PROGRAM.read_text(encoding="utf-8"), text]
    done = machine.run(command, env=env or {}, folder=sut.folder)
    answers = _json(done.output.strip().rpartition("\n")[2])
    found = answers if isinstance(answers, list) else []
    on = asked[0].get("module") or asked[0]["function"].partition(":")[0]
    is_whole = claim(ANSWERED, on=on, got=len(found), expected=len(asked))
    return found if is_whole else []


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line
