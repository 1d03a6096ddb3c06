"""What a dead letter says: the failure, the task and what it was asked, fit to be kept.

Arguments are JSON with kombu's type tags, so that what is replayed is what was sent; values under
sensitive keys are masked there and in the error's text, and the arguments are encrypted beside it
where there is a key. Pure: writing it is `table`'s.
"""

from __future__ import annotations

import traceback as traceback_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.utils.serialization import UnpickleableExceptionWrapper
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.exc import OperationalError

from system import settings
from system.connections.text import storable_name
from system.dead_letters import payload
from system.errors import UndeliverableError
from system.identity import Identity, identify

TRANSIENT = (
    ConnectionError,
    TimeoutError,
    OperationalError,
    BrokerError,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLostError,
    UndeliverableError,
)

NOT_SEALED = f"sensitive values are masked, and {settings.KEYS} has no key that could keep them"


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
    failed_at: datetime
    """When it was seen, which may be long before it is written."""
    notes: str | None = None
    sealed: str | None = None
    """The arguments with their sensitive values, encrypted, where some were masked."""
    replayable: bool = True
    """Whether what was sent is still known; the notes say why it is not."""


class UnregisteredTask:
    """What stands for a task that this process does not know."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self) -> None:
        """Take no argument: none has a name that is known."""


def describe(
    task: Any,
    request: Any,
    exception: BaseException,
    *,
    task_id: str | None = None,
    traceback: str | None = None,
    unreadable: str | None = None,
    seal: Callable[[str], str] | None = None,
) -> DeadLetter:
    """Return what is written about a failure, with sensitive values masked.

    Args:
        task: the Celery task, or what stands for it.
        request: what it was asked: a `celery.app.task.Context` or its like, with `args`, `kwargs`,
            `headers`, `delivery_info` and `id`.
        exception: why it failed.
        task_id: where the request has none.
        traceback: as it was seen where it was raised; made of the exception otherwise.
        unreadable: why the arguments are not known, where they are not.
        seal: encrypts what is masked; without it that is lost.

    """
    identity = identify(task, request, task_id=task_id)
    mask = payload.masking_for(task)
    masked_args, masked_kwargs = mask.arguments(task, request.args, request.kwargs)
    sent = payload.dumps([list(request.args or ()), dict(request.kwargs or {})])
    is_masked = payload.dumps([masked_args, masked_kwargs]) != sent
    why_not = unreadable or (NOT_SEALED if is_masked and seal is None else None)
    return DeadLetter(
        identity=identity,
        queue=queue_of(request.delivery_info, task_name=identity.task_name),
        args=payload.dumps(masked_args),
        kwargs=payload.dumps(masked_kwargs),
        exception_class=class_name(exception),
        error_message=mask.text(message_of(exception)),
        traceback=mask.text(traceback or _traceback(exception)),
        error_kind="transient" if isinstance(exception, TRANSIENT) else "permanent",
        failed_at=datetime.now(UTC),
        notes=f"cannot be replayed: {why_not}" if why_not else None,
        sealed=seal(sent) if seal and is_masked else None,
        replayable=not why_not,
    )


def queue_of(delivery_info: Mapping[str, Any] | None, *, task_name: str) -> str | None:
    """Return the queue that a message came from, by its routing key, else by the task's name."""
    routing_key = (delivery_info or {}).get("routing_key") or ""
    for name in (routing_key.split(".")[0], *task_name.split(".")):
        if name in settings.QUEUES:
            return name
    return storable_name(routing_key) if routing_key else None


def class_name(error: BaseException) -> str:
    """Return the name of an exception's class, with its module unless it is built in.

    Celery wraps one that cannot be pickled; the name is that of the one inside.
    """
    if isinstance(error, UnpickleableExceptionWrapper):
        module, name = str(error.exc_module), str(error.exc_cls_name)
    else:
        module, name = type(error).__module__, type(error).__qualname__
    return name if module == "builtins" else f"{module}.{name}"


def message_of(error: BaseException) -> str:
    """Return an exception's text; of one that cannot say it, that."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 (an exception's own code can raise anything)
        return f"its text cannot be had: {type(broken).__qualname__}"


def _traceback(exception: BaseException) -> str:
    return "".join(traceback_module.format_exception(exception))
