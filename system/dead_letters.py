"""Dead letters: the row of `worker_failed_jobs` that every failed task ends as.

Owns what such a row says and its writing, in the process that sees the failure and in a transaction
of its own. Failures that no `task_failure` signal reports, replay and keeping letters while the
database is away are not here. What a task is retried for leaves no row: the signal fires when no
retry remains.

Arguments are JSON with kombu's type tags, so that what is replayed is what was sent; values under
sensitive keys are masked there and in the error's text.
"""

from __future__ import annotations

import traceback as traceback_module
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import signals
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from system import database, payload, settings
from system.identity import Identity, identify

NOT_WRITTEN = "dead letter not written"

TRANSIENT = (
    ConnectionError,
    TimeoutError,
    OperationalError,
    BrokerError,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLostError,
)

_INSERT = text(
    """
    INSERT INTO worker_failed_jobs (
        id, task_id, task_name, queue, tenant_id, args, kwargs, exception_class, error_message,
        traceback, error_kind, correlation_id
    ) VALUES (
        :id, :task_id, :task_name, :queue, :tenant_id, :args, :kwargs, :exception_class,
        :error_message, :traceback, :error_kind, :correlation_id
    )
    """
)
_UNIQUE_VIOLATION = "23505"

log = structlog.get_logger("system.dead_letters")


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A failure as it is written."""

    identity: Identity
    queue: str | None
    args: str
    """JSON, masked."""
    kwargs: str
    """JSON, masked."""
    exception_class: str
    error_message: str
    traceback: str | None
    error_kind: str
    """`transient` or `permanent`."""


def connect() -> None:
    """Write a dead letter for every `task_failure`; a second call changes nothing."""
    signals.task_failure.connect(
        record_failure, weak=False, dispatch_uid="system.dead_letters.record_failure"
    )


def record_failure(
    sender: Any,
    task_id: str,
    exception: BaseException,
    args: Any = None,
    kwargs: Any = None,
    einfo: Any = None,
    **_: object,
) -> None:
    """Write the dead letter of one failed task.

    A letter that cannot be written is one error line in the log, without the payload: Celery would
    swallow what is raised here.
    """
    try:
        identity = identify(sender, sender.request, task_id=task_id, args=args, kwargs=kwargs)
        write(describe(sender, identity, exception, args=args, kwargs=kwargs, einfo=einfo))
    except Exception as error:  # noqa: BLE001 (whatever it is must be said, and nothing is above)
        # No traceback and no message: both can quote the row. The log context has the rest.
        log.error(  # noqa: TRY400
            NOT_WRITTEN,
            error=class_name(type(error)),
            sqlstate=_sqlstate(error),
            task_name=sender.name,
            task_id=task_id,
        )


def describe(
    task: Any,
    identity: Identity,
    exception: BaseException,
    *,
    args: Any = None,
    kwargs: Any = None,
    einfo: Any = None,
) -> DeadLetter:
    """Return what is written about a failure, with sensitive values masked."""
    request = task.request
    mask = payload.masking_for(task)
    masked_args, masked_kwargs = mask.arguments(
        task, request.args if args is None else args, request.kwargs if kwargs is None else kwargs
    )
    return DeadLetter(
        identity=identity,
        queue=queue_of(request.delivery_info, task_name=identity.task_name),
        args=payload.dumps(masked_args),
        kwargs=payload.dumps(masked_kwargs),
        exception_class=class_name(type(exception)),
        error_message=mask.text(str(exception)),
        traceback=mask.text(_traceback(exception, einfo)),
        error_kind="transient" if isinstance(exception, TRANSIENT) else "permanent",
    )


def write(letter: DeadLetter) -> None:
    """Insert one letter, as its tenant or as nobody; one that is there already stays as it is.

    Without RETURNING and ON CONFLICT: both demand that the row be visible, and one without a tenant
    is visible to no tenant.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database did not take it.

    """
    identity = letter.identity
    values = {
        "id": uuid.uuid4(),
        "task_id": identity.task_id,
        "task_name": identity.task_name,
        "queue": letter.queue,
        "tenant_id": identity.tenant_id,
        "args": letter.args,
        "kwargs": letter.kwargs,
        "exception_class": letter.exception_class,
        "error_message": letter.error_message,
        "traceback": letter.traceback,
        "error_kind": letter.error_kind,
        "correlation_id": identity.correlation_id,
    }
    tenant_id = uuid.UUID(identity.tenant_id) if identity.tenant_id else None
    try:
        with database.transaction(tenant_id) as connection:
            connection.execute(_INSERT, values)
    except IntegrityError as error:
        # Two signals for one task (a time limit fires twice) leave one letter.
        if _sqlstate(error) != _UNIQUE_VIOLATION:
            raise


def queue_of(delivery_info: Mapping[str, Any] | None, *, task_name: str) -> str | None:
    """Return the queue that a message came from, by its routing key, else by the task's name."""
    routing_key = (delivery_info or {}).get("routing_key") or ""
    for name in (routing_key.split(".")[0], *task_name.split(".")):
        if name in settings.QUEUES:
            return name
    return routing_key or None


def class_name(error: type[BaseException]) -> str:
    """Return an exception's name, with its module unless it is built in."""
    if error.__module__ == "builtins":
        return error.__qualname__
    return f"{error.__module__}.{error.__qualname__}"


def _traceback(exception: BaseException, einfo: Any) -> str:
    known = getattr(einfo, "traceback", None)
    return str(known) if known else "".join(traceback_module.format_exception(exception))


def _sqlstate(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", None), "pgcode", None)
