"""Log one line for each run of a task: `task succeeded`, `task failed` or `task retried`.

Owns these lines and the log context of other lines of the run, cleared at its end. Celery's
own lines about the same events are dropped: they are duplicates, and the traceback of a failure
could show an argument.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import structlog
from celery import signals
from celery.app import trace
from structlog.contextvars import bind_contextvars, unbind_contextvars

from system.dead_letters import masking
from system.dead_letters.row import message_of
from system.identity import identify
from system.observability.logs import TASK_FIELDS

SUCCEEDED, FAILED, RETRIED = "task succeeded", "task failed", "task retried"

_DUPLICATES = frozenset(
    {trace.LOG_SUCCESS.strip(), trace.LOG_FAILURE.strip(), trace.LOG_RETRY.strip()}
)

log = structlog.get_logger("system.task")


def connect() -> None:
    """Log every run of a task, and drop Celery's lines about it."""
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid="system.task_log.begin")
    signals.task_success.connect(_succeeded, weak=False, dispatch_uid="system.task_log.succeeded")
    signals.task_failure.connect(_failed, weak=False, dispatch_uid="system.task_log.failed")
    signals.task_retry.connect(_retried, weak=False, dispatch_uid="system.task_log.retried")
    signals.task_postrun.connect(_end, weak=False, dispatch_uid="system.task_log.end")
    logging.getLogger("celery.app.trace").addFilter(_is_no_duplicate)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)


def describe(task: Any, error: BaseException, *, args: Any = None, kwargs: Any = None) -> str:
    """Return an error as text without secrets; never raise, or the line would be missing."""
    name = type(error).__qualname__
    try:
        mask = masking.masking_for(task)
        mask.arguments(task, args or task.request.args, kwargs or task.request.kwargs)
        return mask.text(f"{name}: {message_of(error)}")
    except Exception as broken:  # noqa: BLE001 (arguments of any shape, such as very deep ones)
        return f"{name}: its text is not shown: {type(broken).__qualname__}"


def _begin(sender: Any, task_id: str, args: Any, kwargs: Any, **_: object) -> None:
    identity = identify(sender, sender.request, task_id=task_id, args=args, kwargs=kwargs)
    bind_contextvars(**asdict(identity))


def _end(**_: object) -> None:
    unbind_contextvars(*TASK_FIELDS)


def _succeeded(sender: Any, runtime: float = 0.0, **_: object) -> None:
    log.info(SUCCEEDED, **asdict(identify(sender, sender.request)), duration_s=round(runtime, 6))


def _failed(
    sender: Any,
    task_id: str,
    exception: BaseException,
    args: Any = None,
    kwargs: Any = None,
    **_: object,
) -> None:
    identity = identify(sender, sender.request, task_id=task_id, args=args, kwargs=kwargs)
    log.error(
        FAILED,
        **asdict(identity),
        error=describe(sender, exception, args=args, kwargs=kwargs),
    )


def _retried(sender: Any, request: Any, reason: Any = None, **_: object) -> None:
    """Log a retry and its cause."""
    cause: Any = getattr(reason, "exc", None) or reason
    args, kwargs = request.args, request.kwargs
    log.warning(
        RETRIED,
        **asdict(identify(sender, request)),
        error=describe(sender, cause, args=args, kwargs=kwargs),
        retries=request.retries,
    )


def _is_no_duplicate(record: logging.LogRecord) -> bool:
    internal = bool(getattr(record, "data", {}).get("internal"))
    return internal or str(record.msg).strip() not in _DUPLICATES
