"""A worker's health endpoint, and means to take its broker or its database down."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

from gateproof import Exchange, Stack, Worker, claim, wait_until

HEALTH, ENDPOINT = "health", "answer of the endpoint"
"""Names of claims that falsifiers predict; the object says when."""

OK, ERROR, UNHEALTHY = "ok", "error", "unhealthy"
PARTS = ("status", "broker", "database")
"""The keys of the contract; a system may report more."""

SLACK_S = 0.5
"""The time that connecting and transfer may add to the deadline on a busy machine."""

START_DEADLINE_S = 60.0
CONNECT_DEADLINE_S = 15.0
WATCHED_S, MORE = 1.5, 8
"""How long the endpoints are polled with slow clients, and how many more connect each time."""
RECOVERY_ANSWERS = 4
"""The number of answers among which one must be good again after an outage.

Counted and not timed, because an answer that still waits for a hanging service takes the whole
deadline, and a remembered answer comes at once.
"""


def ask_health(stack: Stack, worker: Worker) -> Exchange:
    """Request a worker's health, with a timeout a little longer than the contract's deadline."""
    return stack.http.get(worker.health_url, timeout_s=_limit_s(stack) + SLACK_S)


def wait_for_endpoints(worker: Worker) -> None:
    """Wait until a worker has reported: then it serves its endpoints, and consumes soon after."""
    worker.report(deadline_s=START_DEADLINE_S)


def expect_healthy(stack: Stack, worker: Worker, when: str) -> bool:
    """Judge that one of its next few answers is 200 and reports both as ok."""
    wanted = _expected(200, OK, OK)
    for _ in range(RECOVERY_ANSWERS):
        got = describe(ask_health(stack, worker))
        if got == wanted:
            break
    return claim(HEALTH, on=when, got=got, expected=wanted)


def expect_unhealthy(
    stack: Stack, worker: Worker, when: str, *, broker: str, database: str
) -> bool:
    """Judge that the next answer is 503, names what is down, and meets the deadline."""
    answer = ask_health(stack, worker)
    got, wanted = describe(answer), _expected(503, broker, database)
    right = claim(HEALTH, on=when, got=got, expected=wanted)
    took_s, limit_s = answer.duration_s, _limit_s(stack)
    in_time = claim(
        "seconds until health answers", on=when, got=took_s, relation="at_most", expected=limit_s
    )
    return right and in_time


def expect_answers(stack: Stack, worker: Worker, when: str) -> bool:
    """Judge that both of its endpoints answer."""
    return _all_answered(answers(stack, worker), when)


def expect_answers_with_slow_clients(stack: Stack, worker: Worker, number: int) -> None:
    """Judge that both of its endpoints answer while this many slow clients are connected.

    A connection that was about to close may have kept a slow client out, which leaves a free place
    for the next request. So the endpoints are polled, and more slow clients connect before each
    request.
    """
    with slow_clients(worker.url, number) as connect:

        def poll() -> dict[str, int | str]:
            connect(MORE)
            return answers(stack, worker)

        seen = wait_until(
            poll,
            lambda found: any(status != 200 for status in found.values()),
            deadline_s=WATCHED_S,
            interval_s=0.1,
        )
    _all_answered(seen, "with slow clients")


def answers(stack: Stack, worker: Worker) -> dict[str, int | str]:
    """Map the paths of both endpoints to their status, or to a message; stop after a wrong one."""
    found: dict[str, int | str] = {}
    for path in (stack.sut.metrics.path, stack.sut.health.path):
        answer = stack.http.get(worker.url + path)
        found[path] = answer.status or f"no answer ({answer.error})"
        if answer.status != 200:
            break
    return found


@contextmanager
def slow_clients(url: str, number: int) -> Iterator[Callable[[int], None]]:
    """Keep slow clients connected for the block: half send nothing, the rest an incomplete request.

    Yields a function that connects more of them.
    """
    to = urlsplit(url)
    address = (to.hostname or "", to.port or 80)
    with ExitStack() as stack:

        def connect(number: int) -> None:
            for nth in range(number):
                client = stack.enter_context(
                    socket.create_connection(address, timeout=CONNECT_DEADLINE_S)
                )
                # The server may have closed the connection by now, which is its right.
                with suppress(OSError):
                    client.sendall(b"GET /hea" if nth % 2 else b"")

        connect(number)
        yield connect


def describe(answer: Exchange) -> str:
    """Return status and the body's known keys on one line, or why there is no answer."""
    if not answer.status:
        return answer.error
    body = answer.json()
    known = {part: body[part] for part in PARTS if part in body} if isinstance(body, dict) else body
    return f"{answer.status} {known}"


@contextmanager
def database_closed(stack: Stack, name: str) -> Iterator[None]:
    """Refuse new sessions on one database of the server for the block, and end the open ones."""
    admin = stack.sql_on("postgres")
    admin.query(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    try:
        admin.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        yield
    finally:
        admin.query(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def _all_answered(found: dict[str, int | str], when: str) -> bool:
    judged = [
        claim(ENDPOINT, on=f"GET {path} {when}", got=status, expected=200)
        for path, status in found.items()
    ]
    return all(judged)


def _limit_s(stack: Stack) -> float:
    return stack.sut.health.deadline_s + SLACK_S


def _expected(status: int, broker: str, database: str) -> str:
    parts = {"status": OK if status == 200 else UNHEALTHY, "broker": broker, "database": database}
    return f"{status} {parts}"
