"""Gate broker: a worker and its children share no connection to the database."""

from __future__ import annotations

from collections import defaultdict

from gateproof import POOL_PREFORK, Stack, Sut, Worker, criterion, falsified_by, source, wait_until

DEADLINE_S, LET_GO_DEADLINE_S = 20.0, 5.0
SHARED = "connections to the database with more than one holder"


@criterion("BRK-08")
@falsified_by(
    source(
        "connections-inherited",
        "system/connections/fork.py",
        "    _redirect_descriptors()  # 2\n",
        "",
    ),
    expect=f"{SHARED}: got",
)
def test_child_shares_no_connection_with_its_worker(own_stack: Stack, sut: Sut) -> None:
    """A child that is forked while its worker is connected publishes, on a connection of its own.

    The children of a worker's start are forked before it connects, and have nothing to inherit. So
    one of them is killed, as one that has done its share of tasks is followed by another.
    """
    stack, ping = own_stack, sut.ping
    with stack.running_worker(pool=POOL_PREFORK, concurrency=1) as worker:
        stack.wait_ready(worker)
        (first,) = worker.children()
        worker.kill_child(first)
        followers = wait_until(
            lambda: [child for child in worker.children() if child != first],
            deadline_s=DEADLINE_S,
        )
        assert len(followers) == 1, (
            f"children that follow on the one that was killed: got {followers}, expected one"
        )
        # A child is there before it has let go.
        shared = wait_until(
            lambda: shared_connections(worker, stack.server.inside.port),
            lambda seen: not seen,
            deadline_s=LET_GO_DEADLINE_S,
        )
        assert not shared, f"{SHARED}: got {shared}, expected none"
        result = stack.tasks.run(ping.task, {**ping.arguments, **ping.retry})
        assert result.state == "SUCCESS", (
            f"ping that its child publishes again: got {result.state}, expected SUCCESS"
        )
        held = holders(worker, stack.server.inside.port)
        own = {pid for pids in held.values() for pid in pids if len(pids) == 1}
        assert own == {worker.pid, *followers}, (
            f"holders of a connection of their own: got {sorted(own)}, expected the worker, "
            f"{worker.pid}, and its child, {followers[0]}"
        )


def shared_connections(worker: Worker, server_port: int) -> dict[int, list[int]]:
    """Map the local port of each connection with more than one holder to those."""
    held = holders(worker, server_port)
    return {port: pids for port, pids in held.items() if len(pids) > 1}


def holders(worker: Worker, server_port: int) -> dict[int, list[int]]:
    """Map the local port of each of a worker's connections to a server to those who hold it."""
    found = defaultdict(list)
    for one in worker.connections():
        if one.remote_port == server_port:
            found[one.local_port].append(one.pid)
    return dict(found)
