"""The purpose of a worker's connections, observed while the table that they use is locked.

The name of a connection only shows what its owner claims. A connection that waits for a lock on a
table, with a statement on that table, really uses the table. Its client port links it to the
worker's process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateproof import Stack, Worker, wait_until

from ..holding import sessions_waiting_for

DEADLINE_S = 30.0


def connections_waiting_for(
    stack: Stack,
    worker: Worker,
    table: str,
    *,
    passed: Callable[[], bool] = lambda: False,
    deadline_s: float = DEADLINE_S,
    kinds: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """Wait until connections of the worker wait for a locked table, and return them.

    Args:
        stack: the stack whose database has the table.
        worker: the worker whose connections count.
        table: the locked table.
        passed: returns whether the worker has passed the point at which it would wait.
        deadline_s: how long to poll while `passed` returns false.
        kinds: the first words of the statements that count, such as ``INSERT``; empty for all.

    """

    def poll() -> tuple[list[dict[str, Any]], bool]:
        # Before the query: if the worker has passed that point by now, the query cannot miss it.
        past = passed()
        rows = sessions_waiting_for(stack, table)
        ports = {one.local_port for one in worker.connections()} if rows else set()
        counted = [row for row in rows if row["query"].lstrip().upper().startswith(kinds or "")]
        return [row for row in counted if row["client_port"] in ports], past

    seen, _ = wait_until(poll, any, deadline_s=deadline_s, interval_s=0.1)
    return seen
