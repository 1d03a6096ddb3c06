"""What a worker's connections are for: seen while the table that they work on is held.

A connection's name says what its owner claims. A connection that waits for a lock on a table, with
a statement on that table, is really used for it; its client port ties it to the worker's process.
"""

from __future__ import annotations

from typing import Any

from gates.holding import sessions_waiting_for
from harness.probes.worker import Worker
from harness.stack import Stack
from harness.wait import wait_until

DEADLINE_S = 6.0


def connections_waiting_for(stack: Stack, worker: Worker, table: str) -> list[dict[str, Any]]:
    """Return the worker's own connections that wait for a held table, once there are some."""

    def look() -> list[dict[str, Any]]:
        rows = sessions_waiting_for(stack, table)
        ports = set(worker.local_ports()) if rows else set()
        return [row for row in rows if row["client_port"] in ports]

    return wait_until(look, deadline_s=DEADLINE_S, interval_s=0.1)
