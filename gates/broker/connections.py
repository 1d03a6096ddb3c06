"""Find out what a worker's connections are for, while the table that they use is locked.

A connection's name says what its owner claims. A connection that waits for a lock on a table, with
a statement on that table, is really used for it; its client port ties it to the worker's process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gates.holding import sessions_waiting_for
from harness.probes.worker import Worker
from harness.stack import Stack
from harness.wait import wait_until

DEADLINE_S = 30.0


def connections_waiting_for(
    stack: Stack,
    worker: Worker,
    table: str,
    *,
    over: Callable[[], bool] = lambda: False,
    deadline_s: float = DEADLINE_S,
) -> list[dict[str, Any]]:
    """Return the worker's connections that wait for a locked table, once there are some.

    Args:
        stack: whose database the table is in.
        worker: whose connections count.
        table: the held one.
        over: tells that the worker has got past the point at which it would wait.
        deadline_s: how long to look where nothing tells that.

    """

    def look() -> tuple[list[dict[str, Any]], bool]:
        # Queried before the observation, so that its content is in the past by then.
        past = over()
        rows = sessions_waiting_for(stack, table)
        ports = {one.local_port for one in worker.connections()} if rows else set()
        return [row for row in rows if row["client_port"] in ports], past

    seen, _ = wait_until(look, any, deadline_s=deadline_s, interval_s=0.1)
    return seen
