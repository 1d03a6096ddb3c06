"""Compare the time of commands: rounds that take turns, medians, ratios, peak memory.

Owns running and counting. A busy machine slows all cases alike, so the results are ratios, and the
processor time is reported in addition to the wall time, because waiting does not add to it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Command = Sequence[str | Path]


class BenchError(Exception):
    """A benchmark could not measure its case."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The cost of one run of a command."""

    wall_s: float
    cpu_s: float
    """User and system time of the process and the child processes that it waited for."""
    peak_mb: float
    """Largest resident set of the process or of one of those child processes; at least that of this
    process, which starts it."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command that takes turns with others."""

    name: str
    command: Command
    folder: Path
    status: int = 0
    """The exit status of a success."""
    before: Callable[[], None] = lambda: None
    """Prepares a run; its time is not counted."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The medians of one case, and their ratios to those of another."""

    name: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    wall_ratio: float
    cpu_ratio: float


def run(case: Case, env: Mapping[str, str]) -> Run:
    """Run a case once and discard its output.

    Raises:
        BenchError: its exit status is not the expected one.

    """
    case.before()
    command = [str(word) for word in case.command]
    began = time.perf_counter()
    child = os.posix_spawnp(
        "sh",
        ["sh", "-c", 'cd "$0" && exec "$@" >"$0.out" 2>&1', str(case.folder), *command],
        dict(env),
    )
    _, status, usage = os.wait4(child, 0)
    wall_s = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) != case.status:
        output = Path(f"{case.folder}.out").read_text(encoding="utf-8", errors="replace")
        raise BenchError(
            f"{case.name}: exit status: got {os.waitstatus_to_exitcode(status)}, expected "
            f"{case.status}: {output[-2000:]}"
        )
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(wall_s=wall_s, cpu_s=cpu_s, peak_mb=usage.ru_maxrss / 1024)


def compare(
    cases: Sequence[Case], *, against: str, rounds: int, env: Mapping[str, str]
) -> tuple[Row, ...]:
    """Run all cases in turns and return their medians.

    Args:
        cases: each is run once to warm up, then once a round.
        against: the name of the case that the ratios refer to.
        rounds: 3 or more.
        env: the environment variables of all cases.

    """
    for case in cases:
        run(case, env)
    seen: dict[str, list[Run]] = {case.name: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            seen[case.name].append(run(case, env))
    base = _medians(seen[against])
    return tuple(_row(name, _medians(runs), base) for name, runs in seen.items())


def _medians(runs: Sequence[Run]) -> Run:
    return Run(
        wall_s=statistics.median(one.wall_s for one in runs),
        cpu_s=statistics.median(one.cpu_s for one in runs),
        peak_mb=max(one.peak_mb for one in runs),
    )


def _row(name: str, run: Run, base: Run) -> Row:
    return Row(
        name=name,
        wall_s=round(run.wall_s, 3),
        cpu_s=round(run.cpu_s, 3),
        peak_mb=round(run.peak_mb, 1),
        wall_ratio=round(run.wall_s / base.wall_s, 2),
        cpu_ratio=round(run.cpu_s / base.cpu_s, 2),
    )


def table(rows: Sequence[Row], *, against: str) -> str:
    """Return the rows as lines of text."""
    head = f"{'':24} {'wall s':>9} {'× ' + against:>16} {'cpu s':>9} {'×':>6} {'peak MB':>9}"
    lines = [
        f"{row.name:24} {row.wall_s:9.2f} {row.wall_ratio:16.2f} {row.cpu_s:9.2f} "
        f"{row.cpu_ratio:6.2f} {row.peak_mb:9.0f}"
        for row in rows
    ]
    return "\n".join([head, *lines])
