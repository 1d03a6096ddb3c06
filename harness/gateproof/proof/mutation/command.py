"""``gateproof mutate``: makes mutants of a system, and reports which of them the gates do not see.

Owns the order of a mutation run. The numbered steps are repeated in the code:

1. A process of pytest plans: it starts the system once, and reads the checks and the schema.
2. Mutants of code and settings are added, a sample is drawn, and a shard of it taken.
3. Mutants that need no run are settled: excluded and equivalent ones, and those that no check
   depends on.
4. Processes of pytest judge the others. Each result is written when it is known, so that the same
   command continues where it was stopped.
5. The result is written and printed.

Source: docs/decisions/0037 and docs/how-to/find-what-the-gates-do-not-see.md.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from gateproof.base.errors import EnvironmentProblemError, HarnessError
from gateproof.base.git import git
from gateproof.base.option import DEFAULT_SUT
from gateproof.description.gates import described_folders, folders_of_run
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.proof.mutation.choosing.selection import (
    Chances,
    Recorded,
    checks_of,
    read_recorded,
)
from gateproof.proof.mutation.generation import (
    code_mutants,
    draw,
    files_to_mutate,
    is_equivalent,
    setting_mutants,
)
from gateproof.proof.mutation.mutant import KINDS, Kind, Mutant, Outcome, Status
from gateproof.proof.mutation.process import Call, judge, plan
from gateproof.proof.mutation.report.accepted import FILE, load_accepted, unused
from gateproof.proof.mutation.report.page import PAGE, lines, render, table
from gateproof.proof.mutation.report.result import MutationResult, judged
from gateproof.proof.mutation.store import Plan, Store, Task, Todo, write
from gateproof.run.selection import parse_shard
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.layout import LATEST
from gateproof_evidence.judging.result import ENVIRONMENT, HARNESS, INCOMPLETE, RELEASED, VIOLATION
from gateproof_evidence.model.text import many

CANDIDATES = ("sut.toml", DEFAULT_SUT)
"""The descriptions that are read without ``--sut``: the first that exists."""
RESULT = "mutation.json"
USUAL_S = {"schema": 2.0, "code": 5.0, "setting": 5.0}
"""The expected time of a killed mutant before any has been judged, in seconds."""


class MutationError(click.ClickException):
    """The mutation run failed."""

    exit_code = HARNESS


class StartError(MutationError):
    """The system does not start."""

    exit_code = ENVIRONMENT


class StoppedError(MutationError):
    """A person or a program stopped the command."""

    exit_code = int(pytest.ExitCode.INTERRUPTED)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The options that choose mutants."""

    kinds: tuple[Kind, ...]
    only: tuple[str, ...]
    """Patterns of ids; empty for all."""
    sample: int | None
    seed: str
    shard: str


@dataclass(kw_only=True)
class MutationRun:
    """One call of the command, after its options were checked."""

    sut: Sut
    gates: tuple[Path, ...]
    store: Store
    call: Call
    choice: Choice
    recorded: Recorded
    bundle: Path | None
    budget_s: float
    texts: dict[str, str] = field(default_factory=dict)

    def plan(self, *, fresh: bool) -> Plan:
        """Plan again, and refuse results of other files.

        Raises:
            BadInputError: the folder has results of other files.

        """
        # 1
        if fresh:
            self.store.clear()
        before = self.store.plan()
        has_results = any(self.store.outcomes())
        self.store.todo_path.unlink(missing_ok=True)
        now = plan(self.call, self.store)
        if has_results and before is not None and before.subject != now.subject:
            write(self.store.plan_path, before)
            raise BadInputError(
                f"{self.store.folder}: --out: got results for other files ({before.subject[:12]}), "
                f"expected {now.subject[:12]}; the system, its gates or gateproof changed: use "
                "--fresh to start again, or name another folder"
            )
        return now

    def mutants(self, plan: Plan) -> list[Mutant]:
        """Return the mutants of this call."""
        # 2
        found = [*plan.mutants, *setting_mutants(self.sut)]
        for file in files_to_mutate(self.sut, self.gates):
            self.texts[file] = (self.sut.folder / file).read_text(encoding="utf-8")
            found += code_mutants(self.texts[file], file)
        if self.choice.only:
            found = [
                one
                for one in found
                if any(fnmatchcase(one.id, pattern) for pattern in self.choice.only)
            ]
        drawn = draw(
            found, sample=self.choice.sample, seed=self.choice.seed, kinds=self.choice.kinds
        )
        if self.choice.shard:
            number, of = parse_shard(self.choice.shard)
            drawn = drawn[number - 1 :: of]
        return drawn

    def settle(self, mutants: Sequence[Mutant], plan: Plan) -> list[Task]:
        """Record the outcomes that need no run, and return the work that is left."""
        # 3
        known = {one.mutant for one in self.store.outcomes()}
        chances = Chances(candidates=plan.checks, recorded=self.recorded)
        candidates = {one.item: one for one in plan.checks}
        tasks = []
        for mutant in mutants:
            if mutant.id in known:
                continue
            text = self.texts.get(mutant.file, "")
            checks = checks_of(mutant, text, plan.checks, self.recorded)
            settled = self._settled(mutant, text, checks)
            if settled is not None:
                self.store.add("command", settled)
            else:
                found = {one: chances.of(candidates[one], mutant, text) for one in checks}
                tasks.append(Task(mutant=mutant, checks=found))
        return sorted(tasks, key=lambda one: hashlib.sha256(one.mutant.id.encode()).digest())

    def result(self, mutants: Sequence[Mutant], plan: Plan) -> MutationResult:
        """Return the result so far."""
        decisions = load_accepted(self.sut.path.with_name(FILE))
        found = judged(mutants, self.store.outcomes(), decisions, dt.datetime.now(dt.UTC).date())
        return MutationResult(
            system=self.sut.name,
            commit=git(self.sut.folder, "rev-parse", "HEAD") or "",
            subject=plan.subject,
            environment=plan.environment,
            seed=self.choice.seed if self.choice.sample else "",
            sample=self.choice.sample,
            shard=self.choice.shard,
            bundle=str(self.bundle or ""),
            judged=found,
            refused=plan.refused,
        )

    def notes(self, mutants: Sequence[Mutant]) -> list[str]:
        """Return which decisions about survivors have no effect; of a sample, the expired ones."""
        decisions = load_accepted(self.sut.path.with_name(FILE))
        found = unused(decisions, [one.id for one in mutants], dt.datetime.now(dt.UTC).date())
        choice = self.choice
        whole = not (choice.sample or choice.shard or choice.only) and choice.kinds == KINDS
        return found if whole else [line for line in found if "expired" in line]

    def estimate(self, tasks: Sequence[Task]) -> str:
        """Return how long the work will take, at least and at most, in words."""
        processes = self.call.processes
        least = sum(USUAL_S[one.mutant.kind] for one in tasks) / processes
        most = sum(
            min(self.budget_s, self._checks_s(one) + USUAL_S[one.mutant.kind]) for one in tasks
        )
        return (
            f"about {_duration(least)} with {processes} processes if all are killed, at most "
            f"{_duration(most / processes)} if all survive"
        )

    def _settled(self, mutant: Mutant, text: str, checks: Sequence[str]) -> Outcome | None:
        if mutant.kind == "code" and is_equivalent(mutant, text):
            fields = {"status": Status.EQUIVALENT, "why": "Python compiles the same code"}
        elif mutant.excluded:
            fields = {"status": Status.SURVIVED, "why": f"excluded: {mutant.excluded}"}
        elif not checks:
            fields = {"status": Status.SURVIVED, "why": "no check depends on it"}
        else:
            return None
        return Outcome(mutant=mutant.id, duration_s=0.0, **fields)

    def _checks_s(self, task: Task) -> float:
        return sum(self.recorded.durations_s.get(one, 1.0) for one in task.checks)


def exit_status(result: MutationResult, *, fail_under: float | None, limited: bool) -> int:
    """Return the exit status of the command.

    Args:
        result: the result.
        fail_under: the least score in percent; None if no survivor is allowed that is not accepted.
        limited: whether the time of the command was limited, so that mutants may be missing.

    """
    score = result.total.score
    if fail_under is None:
        failed = bool(result.open)
    else:
        failed = score is not None and score * 100 < fail_under
    if failed:
        return VIOLATION
    if result.missing:
        return INCOMPLETE if limited else HARNESS
    return RELEASED


@click.command()
@click.argument("gates", type=click.Path(path_type=Path), required=False)
@click.option(
    "--sut",
    type=click.Path(path_type=Path),
    help=f"The description of the system (default: {' or '.join(CANDIDATES)}).",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help=f"A bundle of these gates: only checks that depend on what a mutant changes run with it, "
    f"the quickest first (default: reports/{LATEST}, if there is one).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reports") / "mutation",
    show_default=True,
    help="The folder of the result; the same command continues a run that was stopped.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="Only mutants of this kind; may be repeated.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Only mutants whose id matches, such as 'code:*:app/orders/*'; may be repeated.",
)
@click.option("--sample", type=click.IntRange(min=1), help="Draw this many mutants.")
@click.option("--seed", default="0", show_default=True, help="The same seed draws the same sample.")
@click.option("--shard", default="", metavar="K/N", help="Judge part K of N of the mutants.")
@click.option(
    "--budget",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="The time that the checks of one mutant have together; then it survives.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Begin no further mutant after this time; exit 100 if some were not run.",
)
@click.option(
    "--fail-under",
    type=click.FloatRange(min=0, max=100),
    metavar="PERCENT",
    help="Fail if fewer are killed (default: fail if any survives that mutants.toml does not "
    "accept).",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=2 * len(os.sched_getaffinity(0)),
    show_default=True,
    help="How many mutants are judged at the same time.",
)
@click.option(
    "--environment",
    type=click.Choice(("auto", "containers", "embedded")),
    default="embedded",
    show_default=True,
    help="Where the system runs.",
)
@click.option("--dry-run", is_flag=True, help="Only list how many mutants there are, and the time.")
@click.option("--fresh", is_flag=True, help="Remove earlier results of the folder first.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--pytest-args", default="", help="Further arguments for pytest, in one text.")
def mutate(
    *,
    gates: Path | None,
    sut: Path | None,
    bundle: Path | None,
    out: Path,
    kinds: tuple[Kind, ...],
    only: tuple[str, ...],
    sample: int | None,
    seed: str,
    shard: str,
    budget: float,
    time_limit: float | None,
    fail_under: float | None,
    processes: int,
    environment: str,
    dry_run: bool,
    fresh: bool,
    as_json: bool,
    pytest_args: str,
) -> None:
    """Make small defects of a system, and report which of them the gates do not see.

    GATES is a folder of gates (default: the first of the description). Mutants are made of the
    schema (constraints, indexes, policies, privileges, functions, roles), of the code, and of the
    settings, each on a copy. A mutant is killed when a claim of a check becomes false; it survives
    when every check that depends on it still passes.

    Exit status: 0 if none survived that is not accepted, 1 if one did, 2 if it was stopped, 4 for
    bad input, 100 if the time limit left some out, 102 if the system does not start, 103 if results
    are missing.
    """
    if shard:
        parse_shard(shard)
    description = load_sut((sut or _first_description()).absolute())
    folders = _folders(description, gates)
    chosen = bundle or _default_bundle()
    store = Store(folder=out.absolute())
    say = _silent if as_json else click.echo
    if chosen is None:
        say("no bundle is known: every check runs with every mutant of code; see --bundle")
    signal.signal(signal.SIGTERM, _interrupt)
    with store.locked() as lock, _reported():
        run = MutationRun(
            sut=description,
            gates=folders,
            store=store,
            call=Call(
                gates=folders[0],
                sut=description.path,
                environment=environment,
                processes=processes,
                arguments=tuple(shlex.split(pytest_args)),
                folder=Path.cwd(),
                lock=lock,
            ),
            choice=Choice(kinds=kinds or KINDS, only=only, sample=sample, seed=seed, shard=shard),
            recorded=read_recorded(chosen),
            bundle=chosen,
            budget_s=budget,
        )
        result = _run(run, fresh=fresh, dry_run=dry_run, time_limit_s=time_limit, say=say)
        _write(result, store.folder)
    _print(result, run, as_json=as_json, dry_run=dry_run)
    if not dry_run:
        sys.exit(exit_status(result, fail_under=fail_under, limited=time_limit is not None))


@contextmanager
def _reported() -> Iterator[None]:
    """Turn an interrupt and errors of a mutation run into errors of the command."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError("stopped; the same command continues with what is left") from error
    except HarnessError as error:
        kind = StartError if isinstance(error, EnvironmentProblemError) else MutationError
        raise kind(str(error)) from error


def _run(
    run: MutationRun,
    *,
    fresh: bool,
    dry_run: bool,
    time_limit_s: float | None,
    say: Callable[[str], None],
) -> MutationResult:
    say("starting the system once, to read its checks and its schema ...")
    planned = run.plan(fresh=fresh)
    mutants = run.mutants(planned)
    tasks = run.settle(mutants, planned)
    say(f"{many(len(mutants), 'mutant')}, {len(tasks)} to run: {run.estimate(tasks)}")
    if tasks and not dry_run:
        # 4
        todo = Todo(
            tasks=tuple(tasks),
            durations_s=dict(run.recorded.durations_s),
            budget_s=run.budget_s,
            until=time.time() + time_limit_s if time_limit_s else 0.0,
        )
        judge(run.call, run.store, todo, progress=say)
    # 5
    return run.result(mutants, planned)


def _write(result: MutationResult, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result.as_json(), indent=2, ensure_ascii=False)
    (folder / RESULT).write_text(f"{text}\n", encoding="utf-8")
    (folder / PAGE).write_text(render(result), encoding="utf-8")


def _print(result: MutationResult, run: MutationRun, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False, width=max(100, shutil.get_terminal_size().columns))
    console.print(table(result))
    if dry_run:
        return
    notes = run.notes([one.mutant for one in result.judged])
    for line in (*lines(result), *(f"WARNING: {note}" for note in notes)):
        click.echo(line)
    click.echo(f"page: {run.store.folder / PAGE}")


def _first_description() -> Path:
    return next((Path(one) for one in CANDIDATES if Path(one).is_file()), Path(DEFAULT_SUT))


def _default_bundle() -> Path | None:
    latest = Path("reports") / LATEST
    return latest if latest.exists() else None


def _folders(sut: Sut, named: Path | None) -> tuple[Path, ...]:
    """Return the folders of gates, the named one or the first of the description first."""
    if named is not None:
        return folders_of_run(sut, named.resolve())
    described = described_folders(sut) if sut.describes("gates") else ()
    first = described[0] if described else Path("gates").resolve()
    return folders_of_run(sut, first)


def _interrupt(*_: Any) -> None:
    """End as Ctrl-C does, so that pytest is stopped too."""
    raise KeyboardInterrupt


def _silent(*_: Any) -> None:
    """Print nothing: the output is JSON."""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
