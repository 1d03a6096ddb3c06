"""A worker's metrics, read with the reference parser of the format, and how they rise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gateproof import Stack, Sut, Worker, claim, wait_until

from .reach import require_answer

RISE, LABELS = "rise of the count", "labels of the count"
"""The names of the claims about one count.

The object of a rise is sample, task and when, between slashes; the described ping is called `ping`,
so that falsifiers predict the same object for any system."""

SETTLED_DEADLINE_S = 3.0
ACKNOWLEDGED_DEADLINE_S = 5.0
MESSAGES = "kombu_message"

Counts = Mapping[tuple[str, str], float]
"""Sample and task name to a count; a bucket's sample is its name with the bound."""


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """One answer of the metrics endpoint."""

    status: int
    content_type: str
    types: Mapping[str, str]
    """Family to its type; a counter's name with its ``_total``."""
    buckets: tuple[str, ...]
    """The bounds of the histogram, in the order of the text, each once."""
    counts: Counts
    labels: Mapping[str, tuple[str, ...]]
    """Sample to the names of its labels, without that of the bound of a bucket."""


def types_of(sut: Sut) -> dict[str, str]:
    """Map the described families to their types."""
    named = sut.metrics
    counters = dict.fromkeys((named.started, named.success, named.failure), "counter")
    return {**counters, named.duration: "histogram"}


def timed(sut: Sut) -> str:
    """Return the sample that counts the runs that have been timed."""
    return f"{sut.metrics.duration}_count"


def scrape(stack: Stack, worker: Worker) -> Scrape:
    """Scrape a worker's metrics."""
    answer, described = stack.http.get(worker.metrics_url), types_of(stack.sut)
    types: dict[str, str] = {}
    counts: dict[tuple[str, str], float] = {}
    bounds: dict[str, None] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for family in text_string_to_metric_families(answer.body if answer.status == 200 else ""):
        types[family.name + "_total" * (family.type == "counter")] = family.type
        for sample in family.samples:
            bound = sample.labels.get("le", "")
            bounds.update({bound: None} if bound else {})
            labels[sample.name] = tuple(sorted(sample.labels.keys() - {"le"}))
            task = _task(sample.labels, stack.sut.metrics.task_label)
            counts[f"{sample.name}{bound and f' up to {bound}'}", task] = sample.value
    return Scrape(
        status=answer.status,
        content_type=answer.headers.get("content-type", ""),
        types={name: types[name] for name in types if name in described},
        buckets=tuple(bounds),
        counts=counts,
        labels=labels,
    )


def scrape_at_rest(stack: Stack, worker: Worker) -> Scrape:
    """Scrape the metrics until every run that began has been timed: no more counts will follow."""

    def at_rest(seen: Scrape) -> bool:
        started = stack.sut.metrics.started
        began = sum(number for (sample, _), number in seen.counts.items() if sample == started)
        return began == _timed(stack.sut, seen.counts)

    return wait_until(
        lambda: scrape(stack, worker), at_rest, deadline_s=SETTLED_DEADLINE_S, interval_s=0.05
    )


@contextmanager
def counting_worker(stack: Stack, **options: Any) -> Iterator[tuple[Worker, Scrape]]:
    """Run a worker as `Stack.running_worker` does, and yield it with its metrics at the start.

    The worker ends after it has acknowledged all its messages. Otherwise the next worker on this
    database would get an unacknowledged message when its lease expires, and would run and count the
    task again. QUE-06 judges whether a worker acknowledges its messages at all.
    """
    with stack.running_worker(**options) as worker:
        stack.wait_ready(worker)
        require_answer(stack.http.get(worker.metrics_url), stack.sut, "metrics.path")
        yield worker, scrape_at_rest(stack, worker)
        wait_until(
            lambda: int(stack.sql.query(f"SELECT count(*) FROM {MESSAGES}").scalar()),
            lambda messages: messages == 0,
            deadline_s=ACKNOWLEDGED_DEADLINE_S,
            interval_s=0.02,
        )


def rises(sut: Sut, before: Counts, after: Counts) -> dict[tuple[str, str], float]:
    """Return by how much each count of tasks changed; unchanged counts are left out."""
    names = {sut.metrics.started, sut.metrics.success, sut.metrics.failure, timed(sut)}
    keys = {key for key in (*before, *after) if key[0] in names}
    found = {key: after.get(key, 0.0) - before.get(key, 0.0) for key in keys}
    return {key: rise for key, rise in found.items() if rise}


def rises_for(
    sut: Sut, *, succeeded: Mapping[str, int], failed: Mapping[str, int]
) -> Counter[tuple[str, str]]:
    """Return the rises that this number of runs of each task must cause."""
    expected: Counter[tuple[str, str]] = Counter()
    for sample, runs in ((sut.metrics.success, succeeded), (sut.metrics.failure, failed)):
        for task, number in runs.items():
            names = (sut.metrics.started, sample, timed(sut))
            expected.update({(name, task): number for name in names})
    return expected


def expect_rises(
    stack: Stack,
    worker: Worker,
    before: Counts,
    expected: Mapping[tuple[str, str], int],
    when: str,
    *,
    wait: bool = True,
) -> bool:
    """Judge that these counts rose by exactly these numbers, and that no other count rose.

    The worker times a run after it has updated all other counts of the run. So when all runs have
    been timed, the counts are final. Without `wait`, all runs were timed earlier, and no count may
    have been lost since then.
    """
    runs = _timed(stack.sut, expected)
    last = wait_until(
        lambda: scrape(stack, worker),
        lambda found: _timed(stack.sut, rises(stack.sut, before, found.counts)) >= runs,
        deadline_s=SETTLED_DEADLINE_S if wait else 0.0,
        interval_s=0.05,
    )
    if not expect_labels(stack.sut, last):
        return False  # every count would be missing under the name of its task
    seen = rises(stack.sut, before, last.counts)
    judged = [
        claim(
            RISE,
            on=f"{sample}/{'ping' if task == stack.sut.ping.task else task}/{when}",
            got=_whole(seen.get((sample, task), 0.0)),
            expected=expected.get((sample, task), 0),
        )
        for sample, task in sorted({*seen, *expected})
    ]
    return all(judged)


def expect_labels(sut: Sut, last: Scrape) -> bool:
    """Judge that each count has the described label with the name of the task, and no other."""
    samples = (sut.metrics.started, sut.metrics.success, sut.metrics.failure, timed(sut))
    wanted = [sut.metrics.task_label]
    judged = [
        claim(LABELS, on=sample, got=last.labels[sample], expected=wanted)
        for sample in samples
        if sample in last.labels
    ]
    return all(judged)


def bucket_above(bounds: Sequence[str], duration_s: float) -> str:
    """Return the bound of the smallest bucket that must count a run of at most this duration."""
    return next(bound for bound in bounds if duration_s <= float(bound))


def bucket_below(bounds: Sequence[str], duration_s: float) -> str:
    """Return the bound of the largest bucket that no run of this duration is in; empty if none."""
    return next((bound for bound in reversed(bounds) if float(bound) < duration_s), "")


def _whole(number: float) -> float:
    """Return a count as a whole number, if it is one."""
    return int(number) if number.is_integer() else number


def _timed(sut: Sut, counts: Mapping[tuple[str, str], float]) -> float:
    return sum(number for (sample, _), number in counts.items() if sample == timed(sut))


def _task(labels: Mapping[str, str], label: str) -> str:
    """Return the task of a sample, with any further labels, which would split its series."""
    more = {name: value for name, value in labels.items() if name not in (label, "le")}
    return labels.get(label, "no task") + (f" {more}" if more else "")
