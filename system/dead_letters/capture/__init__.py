"""Report every failure of a task to the storage of dead letters.

1. `result`: Celery stores a failure as a result. The row is written in the same transaction, in
   the pool's child or in the worker's parent: exceptions, retries used up, time limits, killed
   children, `Reject`, results that cannot be stored, ignored results, expired tasks.
2. `consumer`: a message never becomes a task. The row is written before the message is taken off
   its queue: unknown tasks, bodies that cannot be decoded, refused content types.
3. `refused`: the transport refuses a message, because its workers died or it cannot be read.
4. `signal`: the result backend is not PostgreSQL, and only Celery's signal reports the failure.

`failure` and `message` make the row of a failed request and of a refused message.
"""

from __future__ import annotations

from typing import Any

from celery import signals

from system.dead_letters.capture import refused
from system.dead_letters.capture.result import Observer
from system.dead_letters.capture.signal import record_failure
from system.transport.endings import ReportingBackend


def connect() -> None:
    """Connect all four sources of failures; a second call changes nothing."""
    ReportingBackend.observer = Observer()
    refused.connect()
    signals.celeryd_init.connect(
        _use_consumer, weak=False, dispatch_uid="system.dead_letters.use_consumer"
    )
    signals.task_failure.connect(
        record_failure, weak=False, dispatch_uid="system.dead_letters.record_failure"
    )


def _use_consumer(conf: Any, **_: object) -> None:
    # By name: a publisher must not import Celery's worker.
    conf.worker_consumer = "system.dead_letters.capture.consumer:Consumer"
