"""Read a worker's health, and take away its broker and database one by one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

from harness.faults.relay import Relay
from harness.probes.http import Exchange
from harness.probes.worker import Worker
from harness.stack import Stack
from harness.wait import wait_until

OK, AWAY, UNHEALTHY = "ok", "error", "unhealthy"

SLACK_S = 0.5
"""What connecting and the round trip can add to the deadline on a busy machine."""

START_DEADLINE_S = 60.0
CONNECT_DEADLINE_S = 15.0
WATCHED_S, MORE = 1.5, 8
"""How long it is asked with slow clients, and how many more of these come each time."""
RECOVERY_ANSWERS = 4
"""Answers until one must be good again. Counted, not timed: an answer that still waits for what
hung takes its deadline, one that remembers what was comes at once."""


def ask_health(stack: Stack, worker: Worker) -> Exchange:
    """Request a worker's health, with a timeout slightly beyond the contract's deadline."""
    return stack.http.get(worker.health_url, timeout_s=_limit_s(stack) + SLACK_S)


def wait_for_endpoints(worker: Worker) -> None:
    """Wait until a worker has reported its configuration, and so has its endpoints."""
    worker.report(deadline_s=START_DEADLINE_S)


def expect_healthy(stack: Stack, worker: Worker, when: str) -> None:
    """Judge that one of its next few answers is 200 with both ok."""
    wanted = _expected(200, OK, OK)
    for _ in range(RECOVERY_ANSWERS):
        told = said(ask_health(stack, worker))
        if told == wanted:
            break
    assert told == wanted, f"health {when}: got {told}, expected {wanted}"


def expect_unhealthy(
    stack: Stack, worker: Worker, when: str, *, broker: str, database: str
) -> None:
    """Judge that its next answer is 503, names what is away, and meets the deadline."""
    answer = ask_health(stack, worker)
    told, wanted = said(answer), _expected(503, broker, database)
    assert told == wanted, f"health {when}: got {told}, expected {wanted}"
    limit_s = _limit_s(stack)
    assert answer.duration_s <= limit_s, (
        f"time to answer {when}: got {answer.duration_s:.2f} s, expected at most {limit_s:g} s"
    )


def expect_answers(stack: Stack, worker: Worker, when: str) -> None:
    """Judge that both of its endpoints answer."""
    problem = unanswered(stack, worker, when)
    assert not problem, f"{problem}, expected 200"


def expect_answers_beside_slow_clients(stack: Stack, worker: Worker, number: int) -> None:
    """Judge that both of its endpoints answer while slow clients are connected and more connect.

    A connection that was ending when they came may have kept one of them out, and have left its
    place to whoever asks next; so it is asked again and again, each time after some more.
    """
    when = "beside slow clients"
    with slow_clients(worker.url, number) as connect:

        def look() -> str:
            connect(MORE)
            return unanswered(stack, worker, when)

        problem = wait_until(look, deadline_s=WATCHED_S, interval_s=0.1)
    assert not problem, f"{problem}, expected 200"


def unanswered(stack: Stack, worker: Worker, when: str) -> str:
    """Return which of its endpoints does not answer with 200; None if both do."""
    for path in (stack.sut.endpoints.metrics, stack.sut.endpoints.health):
        answer = stack.http.get(worker.url + path)
        if answer.status != 200:
            return f"GET {path} {when}: got {answer.status or f'no answer ({answer.error})'}"
    return ""


@contextmanager
def slow_clients(url: str, number: int) -> Iterator[Callable[[int], None]]:
    """Hold connections for the block: every other one sends nothing, the rest start a request.

    Gives what connects so many more.
    """
    to = urlsplit(url)
    assert to.hostname is not None
    address = (to.hostname, to.port or 80)
    with ExitStack() as stack:

        def connect(number: int) -> None:
            for nth in range(number):
                client = stack.enter_context(
                    socket.create_connection(address, timeout=CONNECT_DEADLINE_S)
                )
                with suppress(OSError):  # It may be turned away by now: the server's affair.
                    client.sendall(b"GET /hea" if nth % 2 else b"")

        connect(number)
        yield connect


def said(answer: Exchange) -> str:
    """Return status and body in one line, or why there is no answer."""
    return f"{answer.status} {answer.json()}" if answer.status else answer.error


@contextmanager
def database_closed(stack: Stack, name: str) -> Iterator[None]:
    """Refuse connections to one database for the block, and terminate existing ones."""
    admin = stack.sql_on("postgres")
    admin.query(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    try:
        admin.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        yield
    finally:
        admin.query(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextmanager
def way_of_its_own(stack: Stack) -> Iterator[Relay]:
    """Open a relay to the stack's server, which can be closed separately."""
    relay = Relay.start(stack.around.launcher(), stack)
    try:
        yield relay
    finally:
        relay.stop()


@contextmanager
def closed(relay: Relay, act: str) -> Iterator[None]:
    """Close a relay for the block, and wait until it is open again.

    Args:
        relay: the way.
        act: ``away`` refuses connections and ends those that there are, ``silent`` lets them hang.

    """
    relay.tell(act)
    try:
        yield
    finally:
        relay.tell("pass")


def _limit_s(stack: Stack) -> float:
    return stack.sut.endpoints.health_deadline_s + SLACK_S


def _expected(status: int, broker: str, database: str) -> str:
    parts = {"status": OK if status == 200 else UNHEALTHY, "broker": broker, "database": database}
    return f"{status} {parts}"
