"""Measures the lease of a broker: how long until the message of a killed worker comes back.

Owns the measurement: a run waits for a locked table, its worker is killed, and another worker takes
the message. A message that never comes back is no lease.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from gateproof.base.wait import wait_until
from gateproof.stack.stack import POOL_SOLO, Stack

QUERY = "gateproof.probe.query"
"""The probe task that reads a table."""
BEGUN_DEADLINE_S, READY_DEADLINE_S, BACK_DEADLINE_S = 15.0, 30.0, 12.0
PREFETCHED = 20
"""More pings than a worker that is killed can hold back."""

_WAITING = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = %s
        AND wait_event_type = 'Lock' AND position(%s IN query) > 0
"""


def measured_lease_s(stack: Stack, table: str, arguments: Mapping[str, Any]) -> float | None:
    """Return after how many seconds, rounded up, another worker runs the task of a killed one.

    1. The only worker begins a run that waits for a locked table.
    2. A second worker answers a ping: it is ready, and takes what comes.
    3. The first worker is killed, and a second session waits for the table.

    Args:
        stack: one without a worker; its broker must not have other messages.
        table: a table that the role of workers can read.
        arguments: further keyword arguments of the task, such as the tenant.

    Returns:
        None if the message did not come back within 12 s, or if a step before failed.

    """
    with stack.running_worker(name="killed", pool=POOL_SOLO, concurrency=1) as victim:
        stack.wait_ready(victim)
        with stack.sql.session() as session:
            session.query(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")  # 1
            stack.tasks.publish(QUERY, (), {"table": table, **arguments})
            first = wait_until(lambda: _waiting(stack, table), deadline_s=BEGUN_DEADLINE_S)
            if not first:
                return None
            with stack.running_worker(name="second", pool=POOL_SOLO, concurrency=1):  # 2
                if not _another_answers(stack):
                    return None
                victim.kill()  # 3
                began = time.monotonic()
                back = wait_until(
                    lambda: _waiting(stack, table) - first,
                    deadline_s=BACK_DEADLINE_S,
                    interval_s=0.1,
                )
                took_s = time.monotonic() - began
                return float(max(1, math.ceil(took_s))) if back else None


def _another_answers(stack: Stack) -> bool:
    """Publish pings until one is answered: the busy worker can hold back the first ones."""
    ping, sent = stack.sut.ping, PREFETCHED
    end = time.monotonic() + READY_DEADLINE_S
    while sent and time.monotonic() < end:
        sent -= 1
        task_id = stack.tasks.publish(ping.task, (), ping.arguments)
        if not stack.tasks.result(task_id, deadline_s=2.0).timed_out:
            return True
    return False


def _waiting(stack: Stack, table: str) -> set[int]:
    return set(stack.sql.query(_WAITING, (stack.sut.worker.role, table)).column())
