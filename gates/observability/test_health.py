"""Gate observability: the health endpoint tests its services, and survives bad requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateproof import POOL_SOLO, Relay, Stack, Sut, Worker, criterion, falsified_by, http

from ..holding import tables_held
from .health import (
    ERROR,
    OK,
    ask_health,
    describe,
    expect_answers,
    expect_answers_with_slow_clients,
    expect_healthy,
    expect_unhealthy,
    interrupted,
    separate_route,
    wait_for_endpoints,
)

METHODS = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "NONSENSE")
UNKNOWN = ("/", "/nothing", "/healthy", "/metrics/x", "/health/../etc/passwd", "/%00")

BAD_REQUESTS = (
    b"",
    b"GET /hea",
    b"\x00\xff\xfe no request at all\r\n\r\n",
    b"GET /health HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
)
"""Truncated, garbage, a version that does not exist, a path and a number of headers too large."""


SLOW = 160
"""The number of slow clients: more than a server has threads for."""


@criterion("OBS-04", needs=("database", "celery", "worker", "ping", "task", "health"))
@falsified_by(
    http("broker-not-asked", "health", pattern=r'"broker": ?"\w+", ?'),
    expect="health with both up: got 200 {'status': 'ok', 'database': 'ok'}",
)
@falsified_by(
    http(
        "broker-always-down",
        "health",
        status=503,
        body='{"status": "unhealthy", "broker": "error", "database": "ok"}',
        content_type="application/json",
    ),
    expect="health with both up: got 503 {'status': 'unhealthy', 'broker': 'error', ",
)
def test_health_is_ok_while_both_are_up(stack: Stack) -> None:
    """A ready worker answers 200 and JSON that reports itself, broker and database as ok."""
    answer = ask_health(stack, stack.worker)
    got, wanted = describe(answer), f"200 { ({'status': OK, 'broker': OK, 'database': OK}) }"
    assert got == wanted, f"health with both up: got {got}, expected {wanted}"
    kind = answer.headers.get("content-type", "")
    assert kind.startswith("application/json"), (
        f"content type of health: got {kind!r}, expected application/json"
    )


@criterion(
    "OBS-05",
    needs=(
        "database",
        "broker.kind=sqla",
        "broker.tables",
        "worker.broker",
        "worker.report",
        "task",
        "health",
        "logs",
    ),
)
@falsified_by(
    http(
        "constant",
        "health",
        status=200,
        body='{"status": "ok", "broker": "ok", "database": "ok"}',
        when_status=503,
    ),
    expect="health with the database down: got 200",
)
@falsified_by(
    http(
        "broker-asked-elsewhere",
        "health",
        pattern=r'"broker": ?"ok"(?=.*"database": ?"error")',
        replacement='"broker": "error"',
        when_status=503,
        sample='{"broker": "ok", "database": "error"}',
    ),
    expect="health with the database down: got 503 {'status': 'unhealthy', 'broker': 'error', ",
)
@falsified_by(
    http("failure-remembered", "health", stale=True, when_status=503),
    expect="health with the database up again: got 503",
)
@falsified_by(
    http("hangs-with-what-it-asks", "health", delay_s=60.0, when_status=503),
    expect="health with the database down: got ReadTimeout",
)
def test_health_names_what_is_down_and_recovers(own_stack: Stack, sut: Sut) -> None:
    """Health names the service that is down or hangs, and is ok again after each outage."""
    stack = own_stack
    with (
        separate_route(stack) as to_broker,
        separate_route(stack) as to_database,
        worker_with_routes(stack, to_broker, to_database) as worker,
    ):
        wait_for_endpoints(worker)
        expect_healthy(stack, worker, "with both up")
        with interrupted(to_database, "away"):
            expect_unhealthy(stack, worker, "with the database down", broker=OK, database=ERROR)
        expect_healthy(stack, worker, "with the database up again")
        with interrupted(to_broker, "away"):
            expect_unhealthy(stack, worker, "with the broker down", broker=ERROR, database=OK)
            with interrupted(to_database, "away"):
                expect_unhealthy(stack, worker, "with both down", broker=ERROR, database=ERROR)
        expect_healthy(stack, worker, "with both up again")
        with tables_held(stack, *sut.broker.tables):
            expect_unhealthy(stack, worker, "with the broker hanging", broker=ERROR, database=OK)
        expect_healthy(stack, worker, "with the broker's tables unlocked again")
        with interrupted(to_database, "silent"):
            expect_unhealthy(stack, worker, "with the database silent", broker=OK, database=ERROR)
        expect_healthy(stack, worker, "with the database answering again")


@contextmanager
def worker_with_routes(stack: Stack, to_broker: Relay, to_database: Relay) -> Iterator[Worker]:
    """Run a worker that reaches its broker by one relay and its database by the other."""
    how, env = stack.sut.worker, {}
    stack.route_through(to_database.address)
    env.update({name: stack.inner_dsn(how.role, form=form) for name, form in how.dsn.items()})
    stack.route_through(to_broker.address)
    env[how.broker] = f"sqla+{stack.inner_dsn(how.role)}"
    stack.route_through(stack.server.inside)
    with stack.running_worker(pool=POOL_SOLO, env=env) as worker:
        yield worker


@criterion("OBS-06", needs=("database", "worker.report", "task", "metrics", "health", "logs"))
@falsified_by(
    http("paths-by-prefix", "/healthy", status=200),
    expect="GET /healthy: got 200, expected 404",
)
@falsified_by(
    http("any-method", "metrics", any_method=True),
    expect="POST /metrics: got 200, expected 405",
)
@falsified_by(
    # The defect: it closes the listening socket instead of the connection.
    http("server-closed-by-a-bad-request", "metrics", ends_with_nonsense=True),
    expect="GET /metrics after bad requests: got no answer",
)
@falsified_by(
    http("newcomers-turned-away", "metrics", most_connections=20),
    expect=" with slow clients: got no answer",
)
def test_endpoint_refuses_bad_requests_and_keeps_answering(own_stack: Stack, sut: Sut) -> None:
    """The server refuses with 404 and 405, and answers after bad requests and with slow clients."""
    paths = (sut.metrics.path, sut.health.path)
    with own_stack.running_worker(pool=POOL_SOLO) as worker:
        wait_for_endpoints(worker)
        expect_healthy(own_stack, worker, "before bad requests")
        for path in UNKNOWN:
            status = own_stack.http.get(worker.url + path).status
            assert status == 404, f"GET {path}: got {status}, expected 404"
        for path in paths:
            for method in METHODS:
                status = own_stack.http.request(method, worker.url + path).status
                assert status == 405, f"{method} {path}: got {status}, expected 405"
        for content in BAD_REQUESTS:
            answer = own_stack.http.raw(worker.url, content)
            assert b" 200 " not in answer[:20], (
                f"bad request {content[:30]!r}: got {answer[:20]!r}, expected no success"
            )
        expect_answers(own_stack, worker, "after bad requests")
        expect_answers_with_slow_clients(own_stack, worker, SLOW)
        assert worker.alive, "worker after bad requests: got one that ended, expected one that runs"
