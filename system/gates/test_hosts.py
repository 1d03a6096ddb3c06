"""Gate broker: a DSN that names several servers, of which the first does not answer."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from gateproof import (
    POOL_SOLO,
    NotReadyError,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    source,
    wait_until,
)

SETTINGS, SESSION = "system/settings.py", "system/transport/session.py"
QUERY = "kept = {key: value for key, value in query.items() if key in LIBPQ_PARAMETERS}"

RESULT_WITHIN_S = 10.0
"""A worker that cannot connect tries again for ever, and says nothing that ends the wait."""

NOTHING_THERE = "127.0.0.1:1"
PUBLISHED, STATE = "publication of the ping", "state of the ping"
SECOND, READ_ONLY = "second of two hosts", "hosts of which none is read-only"
"""Names and objects of claims that falsifiers predict."""


@criterion("BRK-09", needs=("database", "celery", "broker.kind=sqla", "worker", "ping", "task"))
@falsified_by(
    source(
        "first-host-only",
        SETTINGS,
        QUERY,
        "kept = {key: value if isinstance(value, str) else value[0]\n"
        "            for key, value in query.items() if key in LIBPQ_PARAMETERS}",
    ),
    expect=(PUBLISHED, SECOND, "Connection refused"),
)
@falsified_by(
    source("wanted-kind-of-server-dropped", SETTINGS, '        "target_session_attrs",\n'),
    expect=(PUBLISHED, READ_ONLY, "got a message"),
)
@falsified_by(
    source(
        "worker-knows-one-host",
        SESSION,
        "_, arguments = parsed.get_dialect()().create_connect_args(parsed)",
        "arguments = {**parsed.translate_connect_args(username='user', database='dbname'),"
        " **parsed.query}",
    ),
    expect=(STATE, SECOND, "got PENDING"),
)
def test_dsn_with_several_hosts_reaches_the_next(own_stack: Stack, sut: Sut) -> None:
    """Publisher, worker and results reach the second host, and the wanted kind of server counts."""
    stack = own_stack
    several = dsn_of_hosts(stack)
    with stack.running_worker(pool=POOL_SOLO, env=dict.fromkeys(sut.worker.dsn, several)) as worker:
        refusal, task_id = publish(stack, several)
        if not claim(PUBLISHED, on=SECOND, got=refusal or "a message", expected="a message"):
            return
        publisher = stack.publisher(dict.fromkeys(sut.worker.dsn, several))
        done = wait_until(
            lambda: publisher.result(task_id, deadline_s=0.5),
            lambda seen: not seen.timed_out or not worker.alive,
            deadline_s=RESULT_WITHIN_S,
        )
        claim(STATE, on=SECOND, got=done.end, expected="SUCCESS")
    refusal, _ = publish(stack, f"{several}&target_session_attrs=read-only")
    got = refusal or "a message"
    claim(PUBLISHED, on=READ_ONLY, got=got, relation="contains", expected="read-only")


def dsn_of_hosts(stack: Stack) -> str:
    """Return a DSN of two hosts: nothing listens at the first, and the second is the server."""
    parts = urlsplit(stack.inner_dsn(stack.sut.worker.role))
    login = f"{parts.username}:{quote(str(parts.password))}"
    hosts = f"host={NOTHING_THERE}&host={parts.hostname}:{parts.port}"
    return f"postgresql+psycopg2://{login}@{parts.path}?{hosts}"


def publish(stack: Stack, dsn: str) -> tuple[str, str]:
    """Publish a ping with a DSN; return why it was not published, and its id: one is empty."""
    ping = stack.sut.ping
    try:
        publisher = stack.publisher(dict.fromkeys(stack.sut.worker.dsn, dsn))
        return "", publisher.publish(ping.task, (), ping.arguments)
    except (AssertionError, NotReadyError) as error:
        return " ".join(str(error).split()), ""
