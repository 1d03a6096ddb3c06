"""Finds the paths of a worker's metrics and health report by asking the worker.

Owns the paths that are tried. An answer counts only in the form that a check expects: metrics in
the text format of Prometheus, a health report in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from gateproof.probes.http import Exchange
from gateproof.probes.worker import Worker
from gateproof.stack.stack import Stack

METRICS = ("/metrics",)
HEALTH = ("/health", "/healthz", "/livez", "/readyz", "/health_check", "/healthcheck")
UNHEALTHY = 503
"""The status of a health report about a part that is broken."""
TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """The paths that a worker answered; each empty if it answered none."""

    metrics: str = ""
    health: str = ""
    asked: bool = False
    """Whether the worker was asked: it has a variable for its port."""


def endpoints_of(stack: Stack, worker: Worker) -> Endpoints:
    """Ask a worker for the described and the usual paths."""
    sut = stack.sut
    if not sut.describes("worker.port"):
        return Endpoints()

    def first(described: str, usual: Iterable[str], fits: Callable[[Exchange], bool]) -> str:
        named = [str(sut.value_of(described))] if sut.describes(described) else []
        for path in dict.fromkeys([*named, *usual]):
            answer = stack.http.get(worker.url + path, timeout_s=TIMEOUT_S)
            if fits(answer):
                return path
            if not answer.status:  # nothing listens there
                return ""
        return ""

    return Endpoints(
        metrics=first("metrics.path", METRICS, are_metrics),
        health=first("health.path", HEALTH, is_health),
        asked=True,
    )


def are_metrics(answer: Exchange) -> bool:
    """Return whether an answer has metrics in the text format."""
    if answer.status != 200 or "# TYPE" not in answer.body:
        return False
    try:
        return any(text_string_to_metric_families(answer.body))
    except ValueError:
        return False


def is_health(answer: Exchange) -> bool:
    """Return whether an answer is a health report in JSON, good or bad."""
    return answer.status in (200, UNHEALTHY) and isinstance(answer.json(), dict)
