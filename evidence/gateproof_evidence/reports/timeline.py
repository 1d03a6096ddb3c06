"""The timeline of a run: bars on a line for each writer, for the picture in the report.

Owns times, positions and sizes. Leaves the drawing to the template of the report.

Source: the journal's phase events; each is written when its phase ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateproof_evidence.model import (
    Falsification,
    Outcome,
    PhaseEvent,
    Record,
    Run,
    RunEvent,
    Verdict,
)

WIDTH = 1000
"""The width of the run, in units of the picture."""

_NEAR = 0.6
"""The distance in units below which bars of one kind are joined: they would look like one."""
_TICKS = 6
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_ORDER = ("start", "cell", "proof", "check", "warn", "bad")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A span of time in which something ran."""

    x: float
    width: float
    kind: str
    """``start``, ``check``, ``proof``, ``cell``, or its result: ``warn``, ``bad``."""
    title: str
    many: int = 1
    """The number of bars that this one joins."""


@dataclass(frozen=True, kw_only=True)
class Lane:
    """The bars of one writer."""

    name: str
    bars: tuple[Bar, ...]
    """In the order of drawing: the most important comes last."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The timeline of a whole run."""

    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]
    """Position and label of each mark."""
    seconds: float


def timeline(run: Run, records: Sequence[Record]) -> Timeline:
    """Return the bars of a run."""
    seconds = max((run.ended - run.started).total_seconds(), 0.001)
    scale = WIDTH / seconds
    kinds = _kinds(run)
    spans: dict[str, dict[tuple[str, str], list[PhaseEvent]]] = {}
    begun: dict[str, datetime] = {}
    for record in records:
        if isinstance(record, PhaseEvent):
            own = spans.setdefault(record.writer, {})
            own.setdefault((record.item, record.part), []).append(record)
        elif isinstance(record, RunEvent) and record.event == "collected":
            begun[record.writer] = record.at
    lanes = []
    for writer in sorted(spans):
        bars = [_bar(phases, run.started, scale, kinds) for phases in spans[writer].values()]
        if writer in begun:
            width = max((begun[writer] - run.started).total_seconds() * scale, 1)
            bars.insert(0, Bar(x=0, width=_round(width), kind="start", title="start-up"))
        lanes.append(Lane(name=writer, bars=tuple(_merged(bars))))
    return Timeline(lanes=tuple(lanes), ticks=tuple(_ticks(seconds, scale)), seconds=seconds)


def _bar(
    phases: Sequence[PhaseEvent], started: datetime, scale: float, kinds: Mapping[str, str]
) -> Bar:
    first, last = phases[0], phases[-1]
    begin = (first.at - started).total_seconds() - first.duration_s
    end = (last.at - started).total_seconds()
    name = first.criterion or first.item
    usual = first.part.partition(":")[0]
    kind = kinds.get(f"{name} {first.part}", usual if usual in _ORDER else "proof")
    return Bar(
        x=_round(max(begin, 0) * scale),
        width=_round(max((end - begin) * scale, 0.5)),
        kind=kind,
        title=f"{name} {first.part}, {end - begin:.1f} s",
    )


def _kinds(run: Run) -> Mapping[str, str]:
    """Return the kind of bar of each part that did not pass, by criterion and part."""
    kinds = {}
    for verdict in run.criteria:
        if verdict.outcome is not Outcome.PASS:
            kinds[f"{verdict.id} check"] = _tone(verdict)
        for proof in verdict.proofs:
            if proof.result is not Falsification.PROVEN:
                kinds[f"{verdict.id} proof:{proof.falsifier}"] = "bad"
    return kinds


def _tone(verdict: Verdict) -> str:
    return "bad" if verdict.outcome in (Outcome.FAIL, Outcome.ERROR) else "warn"


def _merged(bars: Iterable[Bar]) -> Iterable[Bar]:
    """Join bars that are too close to be distinguished, and sort the important ones last."""
    last: dict[str, Bar] = {}
    done: list[Bar] = []
    for bar in sorted(bars, key=lambda one: one.x):
        before = last.get(bar.kind)
        if before is not None and bar.x + bar.width - before.x < 2 * _NEAR:
            last[bar.kind] = replace(
                before,
                width=_round(max(before.width, bar.x + bar.width - before.x)),
                many=before.many + 1,
            )
            continue
        if before is not None:
            done.append(before)
        last[bar.kind] = bar
    done += last.values()
    return sorted(done, key=lambda one: (_ORDER.index(one.kind), one.x))


def _ticks(seconds: float, scale: float) -> Iterable[tuple[float, str]]:
    step = next((one for one in _STEPS_S if seconds / one <= _TICKS), seconds / _TICKS)
    at = 0.0
    while at <= seconds:
        minutes, rest = divmod(round(at), 60)
        yield _round(at * scale), f"{minutes}:{rest:02}"
        at += step


def _round(value: float) -> float:
    return round(value, 1)
