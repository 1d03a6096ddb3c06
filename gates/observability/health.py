"""What a worker says of its own health, and how broker and database are taken away one by one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

from gateproof import Exchange, Relay, Stack, Worker, wait_until

OK, AWAY, UNHEALTHY = "ok", "error", "unhealthy"

SLACK_S = 0.5
"""What a connection and the way there and back may add to the deadline on a busy machine."""

START_DEADLINE_S = 60.0
CONNECT_DEADLINE_S = 15.0
WATCHED_S, MORE = 1.5, 8
"""How long it is asked beside slow clients, and how many more of these come each time."""
RECOVERY_ANSWERS = 4
"""Answers until one must be good again. Counted, not timed: an answer that still waits for what
hung takes its deadline, one that remembers what was comes at once."""


def ask_health(stack: Stack, worker: Worker) -> Exchange:
    """Ask a worker for its health, with a little patience beyond what the contract allows."""
    return stack.http.get(worker.health_url, timeout_s=_limit_s(stack) + SLACK_S)


def wait_for_endpoints(worker: Worker) -> None:
    """Wait until a worker has reported, by when its endpoints are there; it consumes soon after."""
    worker.report(deadline_s=START_DEADLINE_S)


def expect_healthy(stack: Stack, worker: Worker, when: str) -> None:
    """Judge that one of its next few answers is 200 and says ok of both."""
    wanted = _expected(200, OK, OK)
    for _ in range(RECOVERY_ANSWERS):
        told = said(ask_health(stack, worker))
        if told == wanted:
            break
    assert told == wanted, f"health {when}: got {told}, expected {wanted}"


def expect_unhealthy(
    stack: Stack, worker: Worker, when: str, *, broker: str, database: str
) -> None:
    """Judge that its very next answer is 503, names what is away, and comes within the deadline."""
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
    """Judge that both of its endpoints answer, while so many clients are slow and more come.

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
    """Say which of its endpoints does not answer with 200; nothing where both do."""
    for path in (stack.sut.endpoints.metrics, stack.sut.endpoints.health):
        answer = stack.http.get(worker.url + path)
        if answer.status != 200:
            return f"GET {path} {when}: got {answer.status or f'no answer ({answer.error})'}"
    return ""


@contextmanager
def slow_clients(url: str, number: int) -> Iterator[Callable[[int], None]]:
    """Hold connections for the block: every other one says nothing, the rest begin a request.

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
    """Keep everyone out of one database of the server for the block, and end who is in it."""
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
    """Lead to the stack's server by a further way, which can be closed by itself."""
    relay = Relay.start(stack.context.launcher(), stack)
    try:
        yield relay
    finally:
        relay.stop()


@contextmanager
def closed(relay: Relay, act: str) -> Iterator[None]:
    """Close a way for the block, and wait until it is open again.

    Args:
        relay: the way.
        act: ``away`` refuses connections and ends those that there are, ``silent`` lets them hang.

    """
    relay.set_mode(act)
    try:
        yield
    finally:
        relay.set_mode("pass")


def _limit_s(stack: Stack) -> float:
    return stack.sut.endpoints.health_deadline_s + SLACK_S


def _expected(status: int, broker: str, database: str) -> str:
    parts = {"status": OK if status == 200 else UNHEALTHY, "broker": broker, "database": database}
    return f"{status} {parts}"
