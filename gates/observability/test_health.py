"""Gate observability: the health endpoint tests its services, and survives bad requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateproof import (
    POOL_SOLO,
    Relay,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    http,
    wait_until,
)

from ..holding import tables_held
from ..route import interrupted, separate_route
from .health import (
    ENDPOINT,
    ERROR,
    HEALTH,
    OK,
    ask_health,
    describe,
    expect_answers,
    expect_answers_with_slow_clients,
    expect_healthy,
    expect_unhealthy,
    wait_for_endpoints,
)
from .reach import require_answer

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


REQUESTS, POOLED, CLOSED_WITHIN_S = 20, 3, 2.0
"""How often health is asked, how many sessions a pool may keep, and when the rest is closed."""

SLOW = 160
"""The number of slow clients: more than a server has threads for."""

BOTH_UP, DATABASE_DOWN = "with both up", "with the database down"
DATABASE_UP = "with the database up again"
REFUSAL = "status of the refused request"
SESSIONS = "sessions of the database that requests of health leave"
"""Names and objects of claims that falsifiers predict."""


@criterion("OBS-04", needs=("database", "celery", "worker", "ping", "task", "health"))
@falsified_by(
    http("broker-not-asked", "health", pattern=r'"broker": ?"\w+", ?'),
    expect=(HEALTH, BOTH_UP, "got 200 {'status': 'ok', 'database': 'ok'}"),
)
@falsified_by(
    http(
        "broker-always-down",
        "health",
        status=503,
        body='{"status": "unhealthy", "broker": "error", "database": "ok"}',
        content_type="application/json",
    ),
    expect=(HEALTH, BOTH_UP, "got 503 {'status': 'unhealthy', 'broker': 'error', "),
)
def test_health_is_ok_while_both_are_up(stack: Stack) -> None:
    """A ready worker answers 200 and JSON that reports itself, broker and database as ok.

    However often it is asked, it leaves no session of the database open.
    """
    answer = ask_health(stack, stack.worker)
    require_answer(answer, stack.sut, "health.path")
    got, wanted = describe(answer), f"200 { ({'status': OK, 'broker': OK, 'database': OK}) }"
    right = claim(HEALTH, on=BOTH_UP, got=got, expected=wanted)
    kind = answer.headers.get("content-type", "")
    claim("content type of health", got=kind, relation="matches", expected=r"\Aapplication/json")
    if right:
        expect_no_session_left(stack)


def expect_no_session_left(stack: Stack) -> None:
    """Judge the sessions of the database that many requests of health leave."""
    before = sessions_of_the_worker(stack)
    for _ in range(REQUESTS):
        ask_health(stack, stack.worker)
    left = wait_until(
        lambda: sessions_of_the_worker(stack) - before,
        lambda more: more <= POOLED,
        deadline_s=CLOSED_WITHIN_S,
        interval_s=0.1,
    )
    claim(SESSIONS, got=max(left, 0), relation="at_most", expected=POOLED)


def sessions_of_the_worker(stack: Stack) -> int:
    """Return the number of open sessions of the worker's role in the stack's database."""
    counted = stack.sql.query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = %s",
        (stack.sut.worker.role,),
    )
    return int(counted.scalar())


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
    expect=(HEALTH, DATABASE_DOWN, "got 200"),
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
    expect=(HEALTH, DATABASE_DOWN, "got 503 {'status': 'unhealthy', 'broker': 'error', "),
)
@falsified_by(
    http("failure-remembered", "health", stale=True, when_status=503),
    expect=(HEALTH, DATABASE_UP, "got 503"),
)
@falsified_by(
    http("hangs-with-what-it-asks", "health", delay_s=60.0, when_status=503),
    expect=(HEALTH, DATABASE_DOWN, "got ReadTimeout"),
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
        require_answer(ask_health(stack, worker), sut, "health.path")

        def healthy(when: str) -> bool:
            return expect_healthy(stack, worker, when)

        def down(when: str, *, broker: str = OK, database: str = OK) -> bool:
            return expect_unhealthy(stack, worker, when, broker=broker, database=database)

        # Each answer of a health that hangs takes its deadline: stop after the first wrong one.
        if not healthy(BOTH_UP):
            return
        with interrupted(to_database, "away"):
            right = down(DATABASE_DOWN, database=ERROR)
        if not (right and healthy(DATABASE_UP)):
            return
        with interrupted(to_broker, "away"):
            right = down("with the broker down", broker=ERROR)
            with interrupted(to_database, "away"):
                right = right and down("with both down", broker=ERROR, database=ERROR)
        if not (right and healthy("with both up again")):
            return
        with tables_held(stack, *sut.broker.tables):
            right = down("with the broker hanging", broker=ERROR)
        if not (right and healthy("with the broker's tables unlocked again")):
            return
        with interrupted(to_database, "silent"):
            right = down("with the database silent", database=ERROR)
        if right:
            healthy("with the database answering again")


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
    expect=(REFUSAL, "GET /healthy", "got 200"),
)
@falsified_by(
    http("any-method", "metrics", any_method=True),
    expect=(REFUSAL, "POST /metrics", "got 200"),
)
@falsified_by(
    # The defect: it closes the listening socket instead of the connection.
    http("server-closed-by-a-bad-request", "metrics", ends_with_nonsense=True),
    expect=(ENDPOINT, "GET /metrics after bad requests", "got no answer"),
)
@falsified_by(
    http("newcomers-turned-away", "metrics", most_connections=20),
    expect=(ENDPOINT, "GET /metrics with slow clients", "got no answer"),
)
def test_endpoint_refuses_bad_requests_and_keeps_answering(own_stack: Stack, sut: Sut) -> None:
    """The server refuses with 404 and 405, and answers after bad requests and with slow clients."""
    paths = (sut.metrics.path, sut.health.path)
    with own_stack.running_worker(pool=POOL_SOLO) as worker:
        wait_for_endpoints(worker)
        expect_healthy(own_stack, worker, "before bad requests")
        for path in UNKNOWN:
            status = own_stack.http.get(worker.url + path).status
            claim(REFUSAL, on=f"GET {path}", got=status, expected=404)
        for path in paths:
            for method in METHODS:
                status = own_stack.http.request(method, worker.url + path).status
                claim(REFUSAL, on=f"{method} {path}", got=status, expected=405)
        for number, content in enumerate(BAD_REQUESTS):
            answer = repr(own_stack.http.raw(worker.url, content)[:20])
            on = f"number {number} of the bad requests"
            claim("answer to a bad request", on=on, got=answer, relation="lacks", expected=" 200 ")
        if expect_answers(own_stack, worker, "after bad requests"):
            expect_answers_with_slow_clients(own_stack, worker, SLOW)
        claim("the worker runs after bad requests", got=worker.alive, expected=True)
