"""What a worker says of its own health, and how broker and database are taken away one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.probes.http import Exchange
from harness.probes.worker import Worker
from harness.stack import Stack
from harness.wait import wait_until

OK, AWAY, UNHEALTHY = "ok", "error", "unhealthy"

SLACK_S = 0.5
"""What a connection and the way there and back may add to the deadline on a busy machine."""

RECOVERY_DEADLINE_S = 20.0


def ask_health(stack: Stack, worker: Worker) -> Exchange:
    """Ask a worker for its health, with some patience beyond the endpoint's deadline."""
    return stack.http.get(worker.health_url, timeout_s=stack.sut.endpoints.health_deadline_s + 2)


def expect_healthy(stack: Stack, worker: Worker, when: str) -> None:
    """Judge that it answers 200 and says ok of both, once it has had time to recover."""
    told = wait_until(
        lambda: said(ask_health(stack, worker)),
        lambda seen: seen == _expected(200, OK, OK),
        deadline_s=RECOVERY_DEADLINE_S,
        interval_s=0.2,
    )
    wanted = _expected(200, OK, OK)
    assert told == wanted, f"health {when}: got {told}, expected {wanted}"


def expect_unhealthy(
    stack: Stack, worker: Worker, when: str, *, broker: str, database: str
) -> None:
    """Judge that its very next answer is 503, names what is away, and comes within the deadline."""
    answer = ask_health(stack, worker)
    told, wanted = said(answer), _expected(503, broker, database)
    assert told == wanted, f"health {when}: got {told}, expected {wanted}"
    limit_s = stack.sut.endpoints.health_deadline_s + SLACK_S
    assert answer.duration_s <= limit_s, (
        f"time to answer {when}: got {answer.duration_s:.2f} s, expected at most {limit_s:g} s"
    )


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
def tables_held(stack: Stack, name: str, tables: tuple[str, ...]) -> Iterator[None]:
    """Hold tables of one database for the block: what asks of them hangs, with its connection."""
    with stack.sql_on(name).session() as session:
        session.query(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        yield


def _expected(status: int, broker: str, database: str) -> str:
    parts = {"status": OK if status == 200 else UNHEALTHY, "broker": broker, "database": database}
    return f"{status} {parts}"
