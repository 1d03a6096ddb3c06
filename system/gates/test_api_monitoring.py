"""Gate observability: health, output and metrics of the HTTP service.

The falsifiers change files, and are in `system/falsifiers.toml`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from gateproof import Exchange, Ids, LogLines, Stack, claim, criterion, premise, wait_until

from .ingestion.delivery import signed
from .ingestion.observed import defective_lookup, samples
from .ingestion.service import Service, running_service

DEADLINE_S, SLACK_S = 2.0, 2.0
"""SYSTEM_HEALTH_DEADLINE_S, and what a busy machine may add."""
BACK_S = 20.0
MOST_DELIVERIES = 400
"""After so many, the other process will take none."""

ANSWER, WITHIN = "answer of the health", "seconds until the answer of the health"
NO_JSON, NO_FIELD = "lines that are no JSON object", "lines that lack a field"
LINE, EXIT = "lines with the message", "exit status"
FIELDS = frozenset({"timestamp", "level", "logger", "message", "pid"})
TOTAL, ALIVE = "events counted by all processes", "processes that became ready"
STORED = "events_ingested_total"

MALFORMED = (b"\x16\x03\x01\x00\xff\r\n\r\n", b"GET /health HTTP/9.9\r\n\r\n", b"GET /hea")


@criterion("OBS-13", needs=("database", "tenancy", "broker.kind=sqla"))
def test_health_of_the_service_is_truthful(own_server_stack: Stack) -> None:
    """It names broker and database as they are at the time, within its deadline, and recovers."""
    stack = own_server_stack
    with running_service(stack) as service:
        _judge_health(service, "both up", 200, {"broker": "ok", "database": "ok"})
        with _queues_gone(stack):
            _judge_health(service, "broker away", 503, {"broker": "error", "database": "ok"})
        _judge_health(service, "broker back", 200, {"broker": "ok", "database": "ok"})
        for fault, away in (("stopped", stack.server_stopped), ("paused", stack.server_paused)):
            with away():
                both = {"broker": "error", "database": "error"}
                _judge_health(service, f"server {fault}", 503, both)
            wait_until(lambda: _health(service).status == 200, deadline_s=BACK_S)
            _judge_health(service, f"server {fault} and back", 200, dict.fromkeys(both, "ok"))


def _health(service: Service) -> Exchange:
    return service.stack.http.get(f"{service.url}/health")


def _judge_health(service: Service, on: str, status: int, parts: dict[str, str]) -> None:
    answer = _health(service)
    report = answer.json() or {}
    got = [answer.status, {name: report.get(name) for name in parts}]
    claim(ANSWER, on=on, got=got, expected=[status, parts])
    limit_s = DEADLINE_S + SLACK_S
    claim(WITHIN, on=on, got=answer.duration_s, relation="at_most", expected=limit_s)


@contextmanager
def _queues_gone(stack: Stack) -> Iterator[None]:
    """Take the broker's queues away, and leave the database as it is."""
    stack.sql.execute("ALTER TABLE kombu_queue RENAME TO kombu_queue_away")
    try:
        yield
    finally:
        stack.sql.execute("ALTER TABLE kombu_queue_away RENAME TO kombu_queue")


@criterion("OBS-14", needs=("database", "tenancy", "broker.kind=sqla"))
def test_service_prints_json_lines_only(own_stack: Stack, ids: Ids) -> None:
    """Start, requests, defects, a dead process, a port in use and the end are JSON lines."""
    tenant = str(ids.uuid())
    with running_service(own_stack, {"SYSTEM_API_PROCESSES": "2"}) as service:
        service.send(signed("shopify", ids.uuid().hex), tenant)
        for content in MALFORMED:
            own_stack.http.raw(service.url, content)
        with defective_lookup(own_stack):
            status = service.send(signed("shopify", ids.uuid().hex), tenant).status
        claim("status of the answer", on="defect", got=status, expected=500)
        service.kill_one()
        wait_until(lambda: _count(service, "api ready") == 3, deadline_s=BACK_S)
        claim(EXIT, on="stopped", got=service.process.stop(), expected=0)
        log = service.process.lines()
    _judge_lines(log, "service")
    messages = ("api ready", "event accepted", "Exception in ASGI application", "api process ended")
    for message in (*messages, "api stopped"):
        found = len(_with_message(log, message))
        claim(LINE, on=message, got=found, relation="at_least", expected=1)
    defects = _with_message(log, "Exception in ASGI application")
    shown = ["traceback" in line and "error" in line for line in defects]
    claim("lines about a defect with its traceback", got=shown, expected=[True])
    _judge_refused_start(own_stack)


def _with_message(log: LogLines, message: str) -> list[dict[str, Any]]:
    """Return the lines with a message; the server ends some of its own with a line break."""
    return [line for line in log.entries() if str(line.get("message")).strip() == message]


def _count(service: Service, message: str) -> int:
    return len(service.process.lines().matching(message=message))


def _judge_lines(log: LogLines, on: str) -> None:
    claim(NO_JSON, on=on, got=log.plain(), expected=[], over=log.lines)
    lacking = [line["message"] for line in log.entries() if FIELDS - line.keys()]
    claim(NO_FIELD, on=on, got=lacking, expected=[], over=log.lines)


def _judge_refused_start(stack: Stack) -> None:
    """Start the service with a setting that it refuses."""
    command = stack.sut.fill(["{python}", "-m", "system.api"])
    env = {**stack.sut.env, "DATABASE_URL": stack.inner_dsn("app_ingest"), "SYSTEM_API_PORT": "x"}
    done = stack.process.run(command, env=env, folder=stack.sut.folder)
    claim(EXIT, on="wrong setting", got=done.exit_status, expected=1)
    lines = tuple(line for line in done.output.split("\n") if line.strip())
    _judge_lines(LogLines(lines=lines, redactions=()), "wrong setting")


@criterion("OBS-15", needs=("database", "tenancy", "broker.kind=sqla"))
def test_counts_outlive_a_process(own_stack: Stack, ids: Ids) -> None:
    """Every scrape adds up all processes; after one was killed no count falls, and all continue."""
    tenant = str(ids.uuid())
    with running_service(own_stack, {"SYSTEM_API_PROCESSES": "2"}) as service:
        service.path("shopify", tenant)

        def send(count: int) -> list[int]:
            sent = [signed("shopify", ids.uuid().hex) for _ in range(count)]
            with ThreadPoolExecutor(8) as pool:
                return list(pool.map(lambda one: service.send(one, tenant).status, sent))

        answers: list[int] = []
        # The kernel gives each connection to one of the processes that wait for it: on a busy
        # machine one process may take many in a row.
        while len(answers) < MOST_DELIVERIES and _served(service) < 2:
            answers += send(16)
        premise("answers", got=set(answers), expected={202})
        premise("processes that took deliveries", got=_served(service), expected=2)
        claim(TOTAL, on="two processes", got=_totals(service), expected=[float(len(answers))])
        service.kill_one()
        wait_until(lambda: _count(service, "api ready") == 3, deadline_s=BACK_S)
        claim(ALIVE, got=_count(service, "api ready"), expected=3)
        claim(TOTAL, on="one was killed", got=_totals(service), expected=[float(len(answers))])
        answers += send(8)
        premise("answers after a process was killed", got=set(answers[-8:]), expected={202})
        claim(
            TOTAL, on="its successor counted", got=_totals(service), expected=[float(len(answers))]
        )


def _served(service: Service) -> int:
    """Return the number of processes that have accepted a delivery."""
    accepted = service.process.lines().matching(message="event accepted")
    return len({line["pid"] for line in accepted})


def _totals(service: Service) -> list[float]:
    """Return the distinct totals of several scrapes: each may be of another process."""
    shown = [samples(service).get(STORED, {}) for _ in range(6)]
    return sorted({sum(one.values()) for one in shown})
