"""The tables of a ``sut.toml`` about what a worker shows: metrics, health report, log lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from gateproof.description.section import Section, Words, optional, required


class Metrics(Section):
    """The metrics that every worker serves over HTTP."""

    path: str = required("/metrics")
    """Path of the metrics in Prometheus text format."""
    started: str = optional("celery_task_started_total")
    """Name of the counter of runs that began, as a sample has it. The counters and the histogram
    have a label with the name of the task."""
    success: str = optional("celery_task_success_total")
    """Name of the counter of runs that succeeded."""
    failure: str = optional("celery_task_failure_total")
    """Name of the counter of runs that failed."""
    duration: str = optional("celery_task_duration_seconds")
    """Name of the histogram of the durations of runs, in seconds."""
    task_label: str = "task_name"
    """Name of the label with the name of the task."""
    buckets: Words = ()
    """Bounds of the histogram, as its samples have them, such as ``0.25`` and ``+Inf``; without
    any, all are accepted."""
    dead_letters: str = optional("dead_letters_pending")
    """Name of the gauge with the number of dead-letter rows that have the first status."""
    dead_letters_age_s: str = optional("dead_letters_oldest_age_seconds")
    """Name of the gauge with the age of the oldest of these rows, in seconds."""


class Health(Section):
    """The health report that every worker serves over HTTP."""

    path: str = required("/health")
    """Path of the health report in JSON."""
    deadline_s: Annotated[float, Field(gt=0)] = 2.0
    """Seconds within which it must answer."""


class Logs(Section):
    """Names of the fields and messages of the log lines."""

    timestamp: str = "timestamp"
    """Field of the timestamp: ISO 8601 with a time zone."""
    level: str = "level"
    """Field of the log level."""
    logger: str = "logger"
    """Field of the logger's name."""
    message: str = required("message")
    """Field of the message."""
    task_name: str = required("task_name")
    """Field of the task's name."""
    task_id: str = required("task_id")
    """Field of the task's id."""
    tenant_id: str = optional("tenant_id")
    """Field of the tenant id."""
    correlation_id: str = optional("correlation_id")
    """Field of the correlation id."""
    error: str = optional("error")
    """Field of the error of a failed task."""
    success: str = required("task succeeded")
    """Message of the line for a task that succeeded."""
    failure: str = required("task failed")
    """Message of the line for a task that failed."""
    retry: str = optional("task retried")
    """Message of the line for a retry."""


@dataclass(frozen=True, kw_only=True)
class EndNames:
    """The names in the lines that a worker prints at each end of a task."""

    message: str
    """The field that says how it ended."""
    success: str
    failure: str
    task_id: str
    task_name: str


PROBE_ENDS = EndNames(
    message="GATEPROOF_PROBE_ENDS",
    success="success",
    failure="failure",
    task_id="task_id",
    task_name="task_name",
)
"""The names in the lines of `gateproof.guest.probe_tasks`."""
