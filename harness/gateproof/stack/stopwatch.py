"""Measures where the time of a run goes: by item, and within an item by step.

The time of a step excludes that of the steps inside it, so the steps of an item add up to its time.
Steps are named where the work is done; `gateproof.proof.durations` writes and prints the sums.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

PYTEST, SET_UP, TEAR_DOWN = "pytest", "set-up", "tear-down"
COPY, DATABASE, SERVER, PROCESSES = "copy", "database", "server", "processes"
CHECK, BASELINE, LANDING, FAULTED = "check", "baseline", "landing", "faulted"

STEPS = (
    PYTEST, SET_UP, COPY, DATABASE, SERVER, PROCESSES,
    CHECK, BASELINE, LANDING, FAULTED, TEAR_DOWN,
)  # fmt: skip
"""All steps; `pytest` is the rest, such as the hooks of plugins."""

_STAT = "/proc/stat"
_LONGEST_LINE = 256
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 1
_IDLE = (3, 4)
"""The fields of the line ``cpu`` that count idle time: `idle` and `iowait`."""


class Reading(NamedTuple):
    """The clocks at one moment, or a time by each of them; all in seconds."""

    wall_s: float = 0.0
    process_s: float = 0.0
    """Processor time of this process, and of its child processes that have ended."""
    machine_s: float = 0.0
    """Processor time of the whole machine; 0 where the system does not count it as Linux does.

    It belongs to this process and those that it started only if nothing else runs.
    """

    @classmethod
    def now(cls) -> Reading:
        """Read all clocks."""
        return cls(time.monotonic(), sum(os.times()[:4]), _machine_s())

    def with_time(self, begin: Reading, end: Reading) -> Reading:
        """Return these times and the time between two moments together."""
        return Reading(*(own + to - since for own, since, to in zip(self, begin, end, strict=True)))


@dataclass(frozen=True, kw_only=True)
class ItemLabels:
    """The names by which the time of an item is summed up."""

    item: str
    gate: str = ""
    criterion: str = ""
    falsifier: str = ""
    """Empty for a check."""
    fault_kind: str = ""


@dataclass
class Stopwatch:
    """The times of the items that one process has run."""

    taken: list[dict[str, Any]] = field(default_factory=list)
    """Plain values: the labels of each item, and its steps with their times."""
    _open: list[str] = field(default_factory=list)
    _sums: dict[str, Reading] = field(default_factory=dict)
    _mark: Reading = field(default_factory=Reading)

    @contextmanager
    def item(self, labels: ItemLabels) -> Iterator[None]:
        """Measure one item."""
        self._sums.clear()
        self._open[:] = [PYTEST]
        self._mark = Reading.now()
        try:
            yield
        finally:
            self._charge()
            self._open.clear()
            steps = {name: _rounded(self._sums[name]) for name in STEPS if name in self._sums}
            self.taken.append({**vars(labels), "steps": steps})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step of the current item; outside of an item, measure nothing."""
        if not self._open:
            yield
            return
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def _charge(self) -> None:
        """Add the time since the last mark to the innermost open step."""
        now = Reading.now()
        name = self._open[-1]
        self._sums[name] = self._sums.get(name, Reading()).with_time(self._mark, now)
        self._mark = now


def _rounded(times: Reading) -> dict[str, float]:
    return {clock: round(value, 4) for clock, value in times._asdict().items()}


@cache
def _stat() -> int:
    """Return a descriptor of /proc/stat, which each step reads: opening takes most of the time."""
    return os.open(_STAT, os.O_RDONLY)


def _machine_s() -> float:
    """Return the processor time of the whole machine, from the first line of /proc/stat."""
    try:
        line, _, _ = os.pread(_stat(), _LONGEST_LINE, 0).partition(b"\n")
    except (OSError, AttributeError):  # Windows has no os.pread
        return 0.0
    counts = list(map(int, line.split()[1:9]))
    return (sum(counts) - sum(counts[place] for place in _IDLE)) / _TICKS
