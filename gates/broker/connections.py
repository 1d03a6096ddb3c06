"""What a worker's connections are for: seen while the table that they work on is held.

A connection's name says what its owner claims. A connection that waits for a lock on a table, with
a statement on that table, is really used for it; its client port ties it to the worker's process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.probes.worker import Worker
from harness.stack import Stack
from harness.wait import wait_until

DEADLINE_S = 10.0

_WAITING = """
SELECT pid, usename, application_name, client_port, query
  FROM pg_stat_activity
 WHERE datname = current_database() AND usename = %s
   AND wait_event_type = 'Lock' AND position(%s IN query) > 0
"""


@contextmanager
def table_held(stack: Stack, table: str) -> Iterator[None]:
    """Hold a table for the block: what writes to it or claims rows of it waits, reading goes on."""
    with stack.sql.session() as session:
        session.query(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield


def connections_waiting_for(stack: Stack, worker: Worker, table: str) -> list[dict[str, Any]]:
    """Return the worker's own connections that wait for a held table, once there are some."""

    def look() -> list[dict[str, Any]]:
        rows = stack.sql.query(_WAITING, (stack.sut.worker.role, table)).dicts()
        ports = set(worker.local_ports()) if rows else set()
        return [row for row in rows if row["client_port"] in ports]

    return wait_until(look, deadline_s=DEADLINE_S, interval_s=0.1)
