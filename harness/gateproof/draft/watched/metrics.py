"""Reads the names of metrics from two scrapes of a worker: before its tasks, and after them.

Owns the guesses about metrics. A name is taken if its count rose by exactly the number of runs that
it would count, and if no other one did. The names themselves say nothing.

Source: Prometheus documentation, "Exposition formats".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

HISTOGRAM, COUNTER, GAUGE = "histogram", "counter", "gauge"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """The runs of one task between two scrapes; all numbers differ, so that each count shows."""

    task: str
    succeeded: int
    failed: int
    """Tasks that failed for good."""
    retried: int
    """Runs that ended with a retry."""
    busy_s: float
    """The least sum of the times of all runs, in seconds."""
    elapsed_s: float
    """The time from the first publication to the second scrape, in seconds."""

    @property
    def runs(self) -> int:
        """The number of runs."""
        return self.succeeded + self.failed + self.retried


@dataclass(frozen=True, kw_only=True)
class Series:
    """A sample with a label whose value is the name of the task, and no other label."""

    family: str
    kind: str
    """The type of the family."""
    sample: str
    label: str
    bound: str
    """The bound of a bucket; empty for other samples."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names of a worker's metrics, each empty if it is not known."""

    started: str = ""
    success: str = ""
    failure: str = ""
    duration: str = ""
    task_label: str = ""
    buckets: tuple[str, ...] = ()

    @property
    def are_complete(self) -> bool:
        """Whether all three counters and the histogram are known."""
        return all((self.started, self.success, self.failure, self.duration))


def names_of(before: str, after: str, ran: Ran) -> Names:
    """Return the names of the counters and the histogram of runs.

    Args:
        before: a scrape from before the runs, as the endpoint answers it.
        after: a scrape from after them.
        ran: the runs.

    """
    rises = _rises(before, after, ran.task)
    started = _counter(rises, ran.runs)
    duration = _histogram(rises, ran)
    labels = {one.label for one in rises if one.sample in (started, f"{duration}_count")}
    if len(labels) > 1:
        return Names()
    bounds = tuple(dict.fromkeys(one.bound for one in rises if one.family == duration))
    return Names(
        started=started,
        success=_counter(rises, ran.succeeded),
        failure=_counter(rises, ran.failed),
        duration=duration,
        task_label=next(iter(labels), ""),
        buckets=tuple(filter(None, bounds)),
    )


def gauges_of(text: str) -> dict[str, float]:
    """Return the values of the gauges without labels in a scrape; none if it cannot be read."""
    return {
        sample.name: sample.value
        for family in _families(text)
        for sample in family.samples
        if family.type == GAUGE and not sample.labels
    }


def only(names: Iterator[str]) -> str:
    """Return the only name; empty if there is none, or more than one."""
    found = set(names)
    return found.pop() if len(found) == 1 else ""


def changed_gauge(before: str, after: str, fits: Callable[[float, float], bool]) -> str:
    """Return the only gauge whose values before and after fit; empty without exactly one.

    Args:
        before: a scrape; a gauge that it lacks counts as zero.
        after: a later scrape.
        fits: returns whether the two values fit.

    """
    old, new = gauges_of(before), gauges_of(after)
    return only(name for name, value in new.items() if fits(old.get(name, 0.0), value))


def _families(text: str) -> list[Metric]:
    """Return the families of a scrape; none if it is not in the format."""
    try:
        return list(text_string_to_metric_families(text))
    except ValueError:
        return []


def counts_of(text: str, task: str) -> dict[Series, float]:
    """Return the samples of a scrape that are about one task."""
    found: dict[Series, float] = {}
    for family in _families(text):
        for sample in family.samples:
            others = {name: value for name, value in sample.labels.items() if name != "le"}
            if list(others.values()) == [task]:
                series = Series(
                    family=family.name,
                    kind=family.type,
                    sample=sample.name,
                    label=next(iter(others)),
                    bound=sample.labels.get("le", ""),
                )
                found[series] = sample.value
    return found


def _rises(before: str, after: str, task: str) -> Mapping[Series, float]:
    old = counts_of(before, task)
    return {one: value - old.get(one, 0.0) for one, value in counts_of(after, task).items()}


def _counter(rises: Mapping[Series, float], number: int) -> str:
    return only(
        one.sample
        for one, rise in rises.items()
        if one.kind == COUNTER and one.sample.endswith("_total") and rise == number
    )


def _histogram(rises: Mapping[Series, float], ran: Ran) -> str:
    """Return the histogram with one value a run whose sum can be that of the runs' seconds."""
    ended = ran.succeeded + ran.failed
    counted = {
        one.family
        for one, rise in rises.items()
        if one.sample == f"{one.family}_count" and rise in (ran.runs, ended)
    }
    return only(
        one.family
        for one, rise in rises.items()
        if one.kind == HISTOGRAM
        and one.family in counted
        and one.sample == f"{one.family}_sum"
        and ran.busy_s <= rise <= ran.elapsed_s * ran.runs
    )
