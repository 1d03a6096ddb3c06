"""Gate broker: a worker and its children share no connection to the database."""

from __future__ import annotations

from collections import defaultdict

from gateproof import (
    POOL_PREFORK,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    inject,
    premise,
    wait_until,
)

DEADLINE_S, CLOSED_DEADLINE_S = 20.0, 5.0
SHARED = "connections to the database that several processes share"
RETRIED = "state of the ping that the child retries"
"""Names of claims that falsifiers predict."""


@criterion(
    "BRK-08",
    needs=(
        "database",
        "celery",
        "broker.kind=sqla",
        "broker.promises.own_connections",
        "worker.pool=prefork",
        "ping.retry",
        "task",
    ),
)
@falsified_by(inject("connection-inherited", "inherit-connection"), expect=(SHARED, ""))
@falsified_by(
    inject("children-silent", "silence-children"),
    expect=(RETRIED, "", "got FAILURE"),
)
def test_child_shares_no_connection_with_its_worker(own_stack: Stack, sut: Sut) -> None:
    """A child that is forked while its worker is connected publishes on a connection of its own.

    The first children of a worker are forked before it connects, so they have no connection to
    inherit. The check kills the only child, and the worker forks a successor while it is connected.
    """
    stack, ping = own_stack, sut.ping
    with stack.running_worker(pool=POOL_PREFORK, concurrency=1) as worker:
        stack.wait_ready(worker)
        children = worker.children()
        premise("children of the worker", got=len(children), expected=1)
        first = children[0]
        worker.kill_child(first)
        successors = wait_until(
            lambda: [child for child in worker.children() if child != first],
            deadline_s=DEADLINE_S,
        )
        premise("successors of the killed child", got=len(successors), expected=1)
        # A new child exists for a moment before it has closed the inherited connections.
        shared = wait_until(
            lambda: shared_connections(worker, stack.server.inside.port),
            lambda seen: not seen,
            deadline_s=CLOSED_DEADLINE_S,
        )
        if not claim(SHARED, got=shared, expected={}):
            return
        result = stack.tasks.run(ping.task, {**ping.arguments, **ping.retry})
        if not claim(RETRIED, got=result.end, expected="SUCCESS"):
            return
        held = holders(worker, stack.server.inside.port)
        own = {pid for pids in held.values() for pid in pids if len(pids) == 1}
        expected = {worker.pid, *successors}
        claim("processes with a connection of their own", got=own, expected=expected)


def shared_connections(worker: Worker, server_port: int) -> dict[int, list[int]]:
    """Map the local port of each shared connection to the processes that share it."""
    held = holders(worker, server_port)
    return {port: pids for port, pids in held.items() if len(pids) > 1}


def holders(worker: Worker, server_port: int) -> dict[int, list[int]]:
    """Map the local port of each connection of a worker to the processes that hold it."""
    found = defaultdict(list)
    for one in worker.connections():
        if one.remote_port == server_port:
            found[one.local_port].append(one.pid)
    return dict(found)
