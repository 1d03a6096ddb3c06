"""The tables of a ``sut.toml`` about what a worker shows: metrics, health report, log lines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateproof.description.section import Section, optional, required


class Metrics(Section):
    """The metrics that every worker serves over HTTP."""

    path: str = required("/metrics")
    """Path of the metrics in Prometheus text format."""


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
