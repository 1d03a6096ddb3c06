"""Holding tables, so that a process of the system stays in the middle of what it does with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateproof import Stack, wait_until

SCAN, SCANNED = "app.tasks.maintenance.scan_for_pii_contamination", "attribution_events"
"""A task, and the table that it reads: while that is held, so is the task."""

DEADLINE_S = 15.0

_WAITING = """
SELECT pid, usename, application_name, client_port, query
  FROM pg_stat_activity
 WHERE datname = current_database() AND usename = %s
   AND wait_event_type = 'Lock' AND position(%s IN query) > 0
"""


@contextmanager
def tables_held(stack: Stack, *tables: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    """Hold tables for the block: what asks of them hangs, with its connection.

    Args:
        stack: whose database they are in.
        tables: their names.
        mode: ``ACCESS EXCLUSIVE`` stops every statement on them, ``EXCLUSIVE`` what writes to them
            or claims rows of them.

    """
    with stack.sql.session() as session:
        session.query(f"LOCK TABLE {', '.join(tables)} IN {mode} MODE")
        yield


def sessions_waiting_for(stack: Stack, table: str) -> list[dict[str, Any]]:
    """Return the sessions of the worker's role that wait for a held table now."""
    return stack.sql.query(_WAITING, (stack.sut.worker.role, table)).dicts()


def wait_for_a_session(stack: Stack, table: str) -> list[dict[str, Any]]:
    """Return those sessions once there are some; empty when the deadline passed."""
    return wait_until(
        lambda: sessions_waiting_for(stack, table), deadline_s=DEADLINE_S, interval_s=0.1
    )
