"""Gate observability: the health endpoint tests its services, and survives bad requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateproof import POOL_SOLO, Relay, Stack, Sut, Worker, criterion, falsified_by, source

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

HEALTH, MONITORING = "system/observability/health.py", "system/observability/monitoring.py"

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
    source(
        "broker-not-asked",
        HEALTH,
        """checks = Check("broker", ask_broker), Check("database", ask_database)""",
        """checks = (Check("database", ask_database),)""",
    ),
    expect="health with both up: got 200 {'status': 'ok', 'database': 'ok'}",
)
@falsified_by(
    source("misnamed-table", HEALTH, "FROM kombu_queue LIMIT 1", "FROM kombu_queues LIMIT 1"),
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
    source(
        "constant",
        HEALTH,
        function="Health.ask",
        body="""return {"status": OK, "broker": OK, "database": OK}""",
    ),
    expect="health with the database down: got 200",
)
@falsified_by(
    source(
        "broker-asked-elsewhere",
        HEALTH,
        """broker_url = connections.broker_url.partition("+")[2]""",
        """broker_url = connections.database_url""",
    ),
    expect="health with the database down: got 503 {'status': 'unhealthy', 'broker': 'error', ",
)
@falsified_by(
    source(
        "failure-remembered",
        HEALTH,
        "if self._asked is not None and not self._asked.done():",
        "if self._asked is not None and not (self._asked.done() and self._asked.result()):",
    ),
    expect="health with the database up again: got 503",
)
@falsified_by(
    source(
        "hangs-with-what-it-asks",
        HEALTH,
        "_WAITING_SHARE = 0.8",
        "_WAITING_SHARE = 60",
    ),
    expect="health with the broker hanging: got ReadTimeout",
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
    source(
        "paths-by-prefix",
        MONITORING,
        "endpoint = self._endpoints.get(path)",
        """endpoint = next(
            (found for known, found in self._endpoints.items() if path.startswith(known)), None
        )""",
    ),
    expect="GET /healthy: got 200, expected 404",
)
@falsified_by(
    source(
        "any-method",
        MONITORING,
        """        if method not in {"GET", "HEAD"}:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
""",
    ),
    expect="POST /metrics: got 200, expected 405",
)
@falsified_by(
    # The defect: it closes the listening socket instead of the connection.
    source(
        "server-closed-by-a-bad-request",
        MONITORING,
        "        if isinstance(asked, HTTPStatus):\n",
        """        if isinstance(asked, HTTPStatus):
            self._listening.close()
""",
    ),
    expect="GET /metrics after bad requests: got no answer",
)
@falsified_by(
    source(
        "newcomers-turned-away",
        MONITORING,
        "oldest = next(iter(self._waiting))",
        "oldest = task",
    ),
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
