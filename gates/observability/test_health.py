"""Gate observability: the health endpoint checks before it answers, and survives bad requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gates.holding import tables_held
from gates.observability.health import (
    AWAY,
    OK,
    ask_health,
    closed,
    expect_answers,
    expect_answers_beside_slow_clients,
    expect_healthy,
    expect_unhealthy,
    said,
    wait_for_endpoints,
    way_of_its_own,
)
from harness import criterion, falsified_by, source
from harness.faults.relay import Relay
from harness.probes.worker import Worker
from harness.stack import POOL_SOLO, Stack
from harness.sut import Sut

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
"""A truncated request, garbage, an unknown version, a path too long, too many headers."""


SLOW = 160
"""The number of slow clients: more than a server has threads."""


@criterion("OBS-04")
@falsified_by(
    source(
        "broker-not-asked",
        HEALTH,
        """(Check("broker", ask_broker), Check("database", ask_database))""",
        """(Check("database", ask_database),)""",
    ),
    expect="health with both there: got 200 {'status': 'ok', 'database': 'ok'}",
)
@falsified_by(
    source("misnamed-table", HEALTH, "FROM kombu_queue LIMIT 1", "FROM kombu_queues LIMIT 1"),
    expect="health with both there: got 503 {'status': 'unhealthy', 'broker': 'error', ",
)
def test_health_is_ok_while_both_are_there(stack: Stack) -> None:
    """A ready worker answers 200 and JSON with ok for itself, the broker and the database."""
    answer = ask_health(stack, stack.worker)
    told, wanted = said(answer), f"200 { ({'status': OK, 'broker': OK, 'database': OK}) }"
    assert told == wanted, f"health with both there: got {told}, expected {wanted}"
    kind = answer.headers.get("content-type", "")
    assert kind.startswith("application/json"), (
        f"content type of health: got {kind!r}, expected application/json"
    )


@criterion("OBS-05")
@falsified_by(
    source(
        "constant",
        HEALTH,
        function="Health.ask",
        body="""return {"status": OK, "broker": OK, "database": OK}""",
    ),
    expect="health with the database away: got 200",
)
@falsified_by(
    source(
        "broker-asked-elsewhere",
        HEALTH,
        """broker_url = connections.broker_url.partition("+")[2]""",
        """broker_url = connections.database_url""",
    ),
    expect="health with the database away: got 503 {'status': 'unhealthy', 'broker': 'error', ",
)
@falsified_by(
    source(
        "failure-remembered",
        HEALTH,
        "if self._asked is not None and not self._asked.done():",
        "if self._asked is not None and not (self._asked.done() and self._asked.result()):",
    ),
    expect="health with the database back: got 503",
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
def test_health_names_what_is_away_and_recovers(own_stack: Stack, sut: Sut) -> None:
    """With separate relays: each away alone, each hanging alone, both away."""
    stack = own_stack
    with (
        way_of_its_own(stack) as to_broker,
        way_of_its_own(stack) as to_database,
        led_by(stack, to_broker, to_database) as worker,
    ):
        wait_for_endpoints(worker)
        expect_healthy(stack, worker, "with both there")
        with closed(to_database, "away"):
            expect_unhealthy(stack, worker, "with the database away", broker=OK, database=AWAY)
        expect_healthy(stack, worker, "with the database back")
        with closed(to_broker, "away"):
            expect_unhealthy(stack, worker, "with the broker away", broker=AWAY, database=OK)
            with closed(to_database, "away"):
                expect_unhealthy(stack, worker, "with both away", broker=AWAY, database=AWAY)
        expect_healthy(stack, worker, "with both back")
        with tables_held(stack, *sut.celery.tables):
            expect_unhealthy(stack, worker, "with the broker hanging", broker=AWAY, database=OK)
        expect_healthy(stack, worker, "with the broker's tables free again")
        with closed(to_database, "silent"):
            expect_unhealthy(stack, worker, "with the database silent", broker=OK, database=AWAY)
        expect_healthy(stack, worker, "with the database answering again")


@contextmanager
def led_by(stack: Stack, to_broker: Relay, to_database: Relay) -> Iterator[Worker]:
    """Start a worker that reaches its broker by one relay and its database by another."""
    how, env = stack.sut.worker, {}
    stack.lead_through(to_database.address)
    env.update({name: stack.inner_dsn(how.role, form=form) for name, form in how.dsn.items()})
    stack.lead_through(to_broker.address)
    env[how.broker] = f"sqla+{stack.inner_dsn(how.role)}"
    stack.lead_through(stack.server.inside)
    with stack.running_worker(pool=POOL_SOLO, env=env) as worker:
        yield worker


@criterion("OBS-06")
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
    # Meant to close the connection.
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
def test_endpoint_refuses_politely_and_goes_on(own_stack: Stack, sut: Sut) -> None:
    """Unknown paths get 404, other methods 405; bad requests and slow clients do no harm."""
    paths = (sut.endpoints.metrics, sut.endpoints.health)
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
        expect_answers_beside_slow_clients(own_stack, worker, SLOW)
        assert worker.alive, "worker after bad requests: got an end, expected it alive"
