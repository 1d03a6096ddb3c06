"""Table locks that block a process of the system in the middle of its work on a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateproof import Stack, wait_until

SCAN, SCANNED = "app.tasks.maintenance.scan_for_pii_contamination", "attribution_events"
"""A task, and the table that it reads. The task blocks while the table is locked."""

DEADLINE_S = 15.0

_WAITING = """
SELECT pid, usename, application_name, client_port, query
  FROM pg_stat_activity
 WHERE datname = current_database() AND usename = %s
   AND wait_event_type = 'Lock' AND position(%s IN query) > 0
"""


@contextmanager
def tables_held(stack: Stack, *tables: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    """Lock tables for the duration of the block. Statements on them wait, with their connections.

    Args:
        stack: the stack whose database has the tables.
        tables: the names of the tables.
        mode: ``ACCESS EXCLUSIVE`` blocks every statement on the tables, ``EXCLUSIVE`` blocks
            statements that write to them or claim rows of them.

    """
    with stack.sql.session() as session:
        session.query(f"LOCK TABLE {', '.join(tables)} IN {mode} MODE")
        yield


def sessions_waiting_for(stack: Stack, table: str) -> list[dict[str, Any]]:
    """Return the sessions of the worker's role that wait for a locked table now."""
    return stack.sql.query(_WAITING, (stack.sut.worker.role, table)).dicts()


def wait_for_a_session(stack: Stack, table: str) -> list[dict[str, Any]]:
    """Wait for such a session and return all of them; an empty list after the deadline."""
    return wait_until(
        lambda: sessions_waiting_for(stack, table), deadline_s=DEADLINE_S, interval_s=0.1
    )
