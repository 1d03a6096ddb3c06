"""Gate observability: the health endpoint looks before it answers, and survives what it is sent."""

from __future__ import annotations

from gates.observability.health import (
    AWAY,
    OK,
    ask_health,
    database_closed,
    expect_healthy,
    expect_unhealthy,
    said,
    tables_held,
)
from gates.patching import patch
from harness import criterion, falsified_by
from harness.probes.worker import Worker
from harness.stack import Stack
from harness.sut import Sut

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
"""Cut off, garbage, a version that does not exist, a path and a number of headers too large."""


@criterion("OBS-04")
@falsified_by(
    patch("broker-not-asked", "observability/falsifiers/broker_not_asked.py"),
    expect="health with both there: got 200 {'status': 'ok', 'database': 'ok'}",
)
@falsified_by(
    patch("always-unhealthy", "observability/falsifiers/always_unhealthy.py"),
    expect="health with both there: got 503",
)
def test_health_is_ok_while_both_are_there(stack: Stack) -> None:
    """A ready worker answers 200 and JSON that says ok of itself, the broker and the database."""
    answer = ask_health(stack, stack.worker)
    told, wanted = said(answer), f"200 { ({'status': OK, 'broker': OK, 'database': OK}) }"
    assert told == wanted, f"health with both there: got {told}, expected {wanted}"
    kind = answer.headers.get("content-type", "")
    assert kind.startswith("application/json"), (
        f"content type of health: got {kind!r}, expected application/json"
    )


@criterion("OBS-05")
@falsified_by(
    patch("constant", "observability/falsifiers/constant_health.py"),
    expect="health with the broker away: got 200",
)
@falsified_by(
    patch("broker-asked-elsewhere", "observability/falsifiers/broker_asked_elsewhere.py"),
    expect="health with the broker away: got 200",
)
@falsified_by(
    patch("no-deadline", "observability/falsifiers/no_deadline.py"),
    expect="health with the broker hanging: got ReadTimeout",
)
def test_health_names_what_is_away_and_recovers(own_server_stack: Stack, sut: Sut) -> None:
    """Broker and database on two databases: each away alone, both refused, both hanging."""
    stack = own_server_stack
    broker = stack.cloned_database()
    elsewhere = {sut.worker.broker: f"sqla+{stack.inner_dsn(sut.worker.role, database=broker)}"}
    try:
        with stack.running_worker(env=elsewhere) as worker:
            stack.wait_ready(worker, env=elsewhere)
            expect_healthy(stack, worker, "with both there")
            with database_closed(stack, broker):
                expect_unhealthy(stack, worker, "with the broker away", broker=AWAY, database=OK)
            expect_healthy(stack, worker, "with the broker back")
            with tables_held(stack, broker, sut.celery.tables):
                expect_unhealthy(stack, worker, "with the broker hanging", broker=AWAY, database=OK)
            expect_healthy(stack, worker, "with the broker's tables free again")
            with database_closed(stack, stack.database):
                expect_unhealthy(stack, worker, "with the database away", broker=OK, database=AWAY)
            expect_healthy(stack, worker, "with the database back")
            with stack.server_away():
                expect_both_away(stack, worker, "with PostgreSQL stopped")
            expect_healthy(stack, worker, "with PostgreSQL started again")
            with stack.server_frozen():
                expect_both_away(stack, worker, "with PostgreSQL frozen")
                expect_both_away(stack, worker, "with PostgreSQL still frozen")
            expect_healthy(stack, worker, "with PostgreSQL thawed")
    finally:
        stack.stop_processes()  # publishers too: nobody may be in a database that is cloned


@criterion("OBS-06")
@falsified_by(
    patch("any-path", "observability/falsifiers/any_path.py"),
    expect="GET /: got 200, expected 404",
)
@falsified_by(
    patch("any-method", "observability/falsifiers/any_method.py"),
    expect="POST /metrics: got 200, expected 405",
)
@falsified_by(
    patch("ends-on-a-bad-request", "observability/falsifiers/ends_on_bad_request.py"),
    expect="GET /metrics after bad requests: got no answer",
)
def test_endpoint_refuses_politely_and_goes_on(own_stack: Stack, sut: Sut) -> None:
    """404 for other paths, 405 for other methods, and both endpoints answer after bad requests."""
    paths = (sut.endpoints.metrics, sut.endpoints.health)
    with own_stack.running_worker() as worker:
        own_stack.wait_ready(worker)
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
        for path in paths:
            again = own_stack.http.get(worker.url + path)
            got = again.status or f"no answer ({again.error})"
            assert again.status == 200, f"GET {path} after bad requests: got {got}, expected 200"
        assert worker.alive, "worker after bad requests: got an end, expected it alive"


def expect_both_away(stack: Stack, worker: Worker, when: str) -> None:
    """Judge that neither broker nor database is said to be there."""
    expect_unhealthy(stack, worker, when, broker=AWAY, database=AWAY)
