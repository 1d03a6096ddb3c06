"""Judge whether this process's worker still consumes its queues.

Broker and database can be up while a worker takes nothing: its consumer was cancelled, its event
loop hangs, or its children are stopped. It is stalled if work waits for longer than a limit and it
made no progress for as long:

1. *Work waits*: a message in one of its queues, or a task that it has claimed and not started.
2. *Progress* is a claim, the start of a task, or the acknowledgement at its end.
3. A worker each of whose slots runs a task within its time limit is busy, not stalled. A task
   without a time limit is always within it. Not busy is a worker whose event loop hangs: it would
   not see that a task has ended. (In the pool `solo` the task itself keeps the loop.)
4. A queue for which the worker was started and which it no longer consumes is stalled once a
   message waits there for longer than the limit, whatever the worker does with its other queues.

A worker that got a signal to stop consumes nothing on purpose, and is never stalled.

Celery's worker runs in the main thread and this in another one, which only reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from celery import signals
from celery.concurrency.solo import TaskPool as SoloPool
from celery.worker import state

from system.errors import StalledError
from system.transport.activity import ACTIVITY, TURN_S, stops

# Celery's own timer for time limits runs about once a second.
_LIMIT_SLACK_S = 2.0
_ATTEMPTS = 10


class Consumer:
    """The consumer of this process's worker."""

    def __init__(self, stalled_after_s: float) -> None:
        self._stalled_after_s = stalled_after_s
        self._worker: Any = None
        self._queues: frozenset[str] = frozenset()
        self._began = 0.0

    def connect(self) -> None:
        """Begin to judge the worker when Celery has set it up."""
        signals.celeryd_after_setup.connect(
            self.begin, weak=False, dispatch_uid="system.consumer.begin"
        )

    def begin(self, instance: Any, **_: object) -> None:
        """Begin to judge a worker: it consumes from these queues from now on."""
        self._queues = frozenset(instance.app.amqp.queues.consume_from)
        self._began = time.monotonic()
        self._worker = instance

    def expect_progress(self, waits: Mapping[str, float]) -> None:
        """Return if the worker consumes, or is not set up yet, or got a signal to stop.

        Args:
            waits: how long messages wait in each queue that has some, in seconds.

        Raises:
            StalledError: it is stalled.

        """
        if self._worker is None or stops():
            return
        late = {queue for queue, wait_s in waits.items() if wait_s > self._stalled_after_s}
        late &= self._queues | set(self._worker.app.amqp.queues.consume_from)
        self._expect_consumed(late)  # 4
        active = _members(state.active_requests)
        waiting = _members(state.reserved_requests) - active
        if not (late or waiting):  # 1
            return
        if self._progressed(active) or self._is_busy(active):  # 2, 3
            return
        raise StalledError(
            f"consumer: got no progress for {self._stalled_after_s:g} s while messages wait in "
            f"{sorted(late)} and {len(waiting)} claimed tasks have not started, expected some; "
            "see the worker's log, or restart it"
        )

    def _expect_consumed(self, late: set[str]) -> None:
        consumer = getattr(getattr(self._worker, "consumer", None), "task_consumer", None)
        if consumer is None or not self._is_past(self._began):
            return
        left = sorted(queue for queue in late if not consumer.consuming_from(queue))
        if left:
            raise StalledError(
                f"consumer: got messages that wait in {left}, which this worker no longer "
                "consumes, expected it to; send add_consumer, or restart it"
            )

    def _progressed(self, active: Iterable[Any]) -> bool:
        now = time.time() - time.monotonic()
        starts = (request.time_start - now for request in active if request.time_start)
        return not self._is_past(max(self._began, ACTIVITY.moved_at, *starts))

    def _is_busy(self, active: Iterable[Any]) -> bool:
        pool = self._worker.pool
        if not isinstance(pool, SoloPool) and self._is_past(ACTIVITY.turned_at + TURN_S):
            return False
        slots: int = pool.num_processes
        return sum(map(_is_within_limit, active)) >= slots

    def _is_past(self, moment: float) -> bool:
        return time.monotonic() - moment > self._stalled_after_s


def _is_within_limit(request: Any) -> bool:
    limit_s: float | None = request.time_limits[0] or request.task.time_limit
    began: float = request.time_start or time.time()
    return limit_s is None or time.time() - began <= limit_s + _LIMIT_SLACK_S


def _members(requests: Iterable[Any]) -> set[Any]:
    """Return the members of a set that another thread changes."""
    for _ in range(_ATTEMPTS):
        try:
            return set(requests)
        except RuntimeError:  # it changed meanwhile
            continue
    return set()
