"""Holding a table, so that a process of the system stays in the middle of what it does with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.stack import Stack
from harness.wait import wait_until

DEADLINE_S = 15.0

_WAITING = """
SELECT pid, usename, application_name, client_port, query
  FROM pg_stat_activity
 WHERE datname = current_database() AND usename = %s
   AND wait_event_type = 'Lock' AND position(%s IN query) > 0
"""


@contextmanager
def table_held(stack: Stack, table: str, *, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    """Hold a table for the block.

    Args:
        stack: whose database it is in.
        table: its name.
        mode: ``ACCESS EXCLUSIVE`` stops every statement on it, ``EXCLUSIVE`` what writes to it or
            claims rows of it.

    """
    with stack.sql.session() as session:
        session.query(f"LOCK TABLE {table} IN {mode} MODE")
        yield


def sessions_waiting_for(stack: Stack, table: str) -> list[dict[str, Any]]:
    """Return the sessions of the worker's role that wait for a held table now."""
    return stack.sql.query(_WAITING, (stack.sut.worker.role, table)).dicts()


def wait_for_a_session(stack: Stack, table: str) -> list[dict[str, Any]]:
    """Return those sessions once there are some; empty when the deadline passed."""
    return wait_until(
        lambda: sessions_waiting_for(stack, table), deadline_s=DEADLINE_S, interval_s=0.1
    )
