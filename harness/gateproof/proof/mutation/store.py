"""The folder of a mutation run: what its processes share, so that it can be resumed.

Owns the files in it. `plan.json` has the checks and the mutants of the schema, `todo.json` the
mutants of this call with the checks to run, `results/` a line for each judged mutant, written when
it has been judged, and `baselines/` whether a check passes without a mutant.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from gateproof.proof.mutation.mutant import Candidate, Mutant, Outcome, Value
from gateproof_evidence.errors import BadInputError

T = TypeVar("T", bound=Value)

LOCK = ".lock"


class Plan(Value):
    """The findings of the first process of a mutation run."""

    subject: str
    """The digest of the files that the results depend on."""
    environment: str
    checks: tuple[Candidate, ...]
    mutants: tuple[Mutant, ...]
    """The mutants of the schema."""
    refused: dict[str, int]
    """Operator to the number of its statements that PostgreSQL refuses: they make no mutant."""


class Task(Value):
    """A mutant, and the checks to run with it."""

    mutant: Mutant
    checks: dict[str, float]
    """Node ids, each with the chance that it kills the mutant, see `selection.chance_of`."""


class Todo(Value):
    """The work of the processes of one call."""

    tasks: tuple[Task, ...]
    durations_s: dict[str, float]
    """Node id of a check to the time that it took in the bundle."""
    budget_s: float
    """The time that the checks of one mutant have together."""
    until: float = 0.0
    """The time, in seconds since the epoch, after which no mutant is begun; 0 for no end."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """The folder."""

    folder: Path

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep other calls of the command away from the folder; yield the lock's descriptor.

        Raises:
            BadInputError: another call uses it.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadInputError(
                    f"{self.folder}: --out: got a folder that another mutation run uses, expected "
                    "one of its own; wait for it, or name another"
                ) from error
            yield lock.fileno()

    def clear(self) -> None:
        """Remove the results, the plan and what belongs to them; the lock stays."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    @property
    def plan_path(self) -> Path:
        """The path of the plan."""
        return self.folder / "plan.json"

    @property
    def todo_path(self) -> Path:
        """The path of the work of this call; without it, a process plans."""
        return self.folder / "todo.json"

    @property
    def results(self) -> Path:
        """The folder of the results: a file of lines for each process."""
        return self.folder / "results"

    def plan(self) -> Plan | None:
        """Return the plan, if there is one."""
        return _read(self.plan_path, Plan)

    def todo(self) -> Todo | None:
        """Return the work of this call, if it is known."""
        return _read(self.todo_path, Todo)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the results so far; the last line of a process that was killed may be cut off."""
        for path in sorted(self.results.glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                with suppress(ValidationError):
                    yield Outcome.model_validate_json(line)

    def add(self, writer: str, outcome: Outcome) -> None:
        """Append a result."""
        self.results.mkdir(parents=True, exist_ok=True)
        with (self.results / f"{writer}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{outcome.model_dump_json()}\n")

    def baseline(self, key: Iterable[str]) -> str | None:
        """Return how a check ended without a mutant: ``pass``, or why not; None if unknown."""
        path = self._baseline_path(key)
        return path.read_text(encoding="utf-8") if path.exists() else None

    def keep_baseline(self, key: Iterable[str], result: str) -> None:
        """Keep how a check ended without a mutant."""
        path = self._baseline_path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(result, encoding="utf-8")
        part.replace(path)

    def _baseline_path(self, key: Iterable[str]) -> Path:
        name = hashlib.sha256("\0".join(key).encode()).hexdigest()[:24]
        return self.folder / "baselines" / name


def write(path: Path, value: Value) -> None:
    """Write a value to a file, as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(value.model_dump_json(), encoding="utf-8")
    part.replace(path)


def _read(path: Path, kind: type[T]) -> T | None:
    if not path.exists():
        return None
    try:
        return kind.model_validate(json.loads(path.read_bytes()), strict=False)
    except (ValidationError, ValueError) as error:
        raise BadInputError(
            f"{path}: got another form ({type(error).__name__}), expected one of this version of "
            "gateproof; remove the folder, or name another with --out"
        ) from error
