"""The processes and requests of a description, by names that are the same in every run.

Owns the names of objects in claims: ``api/database away`` and ``api/event/at once``. The generators
of falsifiers use the names too, so that a prediction fits any system.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateproof import Request, Stack, Sut

SLACK_S = 2.0
"""The time that connecting and a busy machine may add to a described deadline."""


def listed(section: Any, key: str) -> tuple[Any, ...]:
    """Return the values of a key of a process or request that may be missing."""
    found = section.values()[key]
    return found if isinstance(found, tuple) else ()


def text(section: Any, key: str) -> str:
    """Return the text of a key of a process or request; empty if it is missing."""
    found = section.values()[key]
    return found if isinstance(found, str) else ""


def endpoints(sut: Sut) -> list[str]:
    """Return the names of the processes with endpoints."""
    return [one.name for one in sut.processes if one.has_endpoint]


def with_port_variable(sut: Sut) -> list[str]:
    """Return the names of the processes with endpoints whose port a variable sets."""
    return [one.name for one in sut.processes if one.has_endpoint and text(one, "port")]


def with_health(sut: Sut) -> list[str]:
    """Return the names of the processes with a health report."""
    return [one.name for one in sut.processes if one.has_endpoint and text(one, "health")]


def failing_without(sut: Sut, part: str) -> list[str]:
    """Return the names of the processes that must not report as healthy without a part."""
    known = with_health(sut)
    return [
        one.name
        for one in sut.processes
        if one.name in known and part in listed(one, "must_fail_without")
    ]


def requests(sut: Sut, key: str = "table") -> list[str]:
    """Return ``process/request`` of each described request that has a key."""
    return [
        f"{process.name}/{request.name}"
        for process in sut.processes
        if process.has_endpoint
        for request in listed(process, "request")
        if text(request, key)
    ]


def request_named(sut: Sut, name: str) -> Request:
    """Return the request of ``process/request``."""
    process, _, request = name.partition("/")
    found: tuple[Request, ...] = sut.process_named(process).request
    return next(one for one in found if one.name == request)


def each_request(sut: Sut, key: str = "table") -> Iterator[tuple[str, str, Request]]:
    """Yield ``process/request``, the process's name, and the request."""
    for name in requests(sut, key):
        yield name, name.partition("/")[0], request_named(sut, name)


def rows(stack: Stack, table: str) -> int:
    """Return the number of rows of a table, as superuser."""
    return int(stack.sql.query(f"SELECT count(*) FROM {table}").scalar())
