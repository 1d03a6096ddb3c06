"""Describe a failure as a dead-letter row: the error, the task and its arguments.

Arguments are JSON with kombu's type tags, so that a replay sends the original values. Values under
sensitive keys are masked in the arguments and in the error's text; with a key, the original
arguments are also encrypted. Pure: `storage` writes the row.
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
from system.dead_letters import masking, options, payload
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

NOT_ENCRYPTED = f"sensitive values are masked, and {settings.KEYS} has no key to encrypt them"


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One dead-letter row."""

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
    """When the failure was reported, which can be long before the row is written."""
    notes: str | None = None
    options: str = "{}"
    """JSON, masked: what the message is besides its arguments."""
    expires_at: datetime | None = None
    """When the message expires."""
    sealed: str | None = None
    """The original arguments and options, encrypted, where some of their values are masked."""
    replayable: bool = True
    """Whether the original arguments are known; if not, the notes say why."""


class UnregisteredTask:
    """A stand-in for a task that this process does not know."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self) -> None:
        """Take no argument: the names of the real ones are unknown."""


def describe(
    task: Any,
    request: Any,
    exception: BaseException,
    *,
    task_id: str | None = None,
    traceback: str | None = None,
    unreadable: str | None = None,
    encrypt: Callable[[str], str] | None = None,
) -> DeadLetter:
    """Return the row of a failure, with sensitive values masked.

    Args:
        task: the Celery task, or its stand-in.
        request: a `celery.app.task.Context` or similar, with `args`, `kwargs`, `headers`,
            `delivery_info` and `id`, and the parts that `options` keeps.
        exception: why it failed.
        task_id: used if the request has none.
        traceback: from the process that raised; by default it is made of the exception.
        unreadable: why the arguments are unknown, if they are.
        encrypt: encrypts the original arguments; without it the masked values are lost.

    """
    identity = identify(task, request, task_id=task_id)
    mask = masking.masking_for(task)
    more = options.options_of(request, task_id=identity.task_id)
    arguments = mask.arguments(task, request.args, request.kwargs)
    masked = mask.repeated([*arguments, mask.value(more)])
    masked_args, masked_kwargs, masked_options = masked
    sent = [list(request.args or ()), dict(request.kwargs or {}), more]
    is_masked = payload.dumps(masked) != payload.dumps(sent)
    why_not = (
        unreadable
        or options.why_not_replayable(request)
        or (NOT_ENCRYPTED if is_masked and encrypt is None else None)
    )
    return DeadLetter(
        identity=identity,
        queue=queue_of(request.delivery_info, task_name=identity.task_name),
        args=payload.dumps(masked_args),
        kwargs=payload.dumps(masked_kwargs),
        options=payload.dumps(masked_options),
        expires_at=options.expiry_of(request),
        exception_class=class_name(exception),
        error_message=mask.text(message_of(exception)),
        traceback=mask.text(traceback or _traceback(exception)),
        error_kind="transient" if isinstance(exception, TRANSIENT) else "permanent",
        failed_at=datetime.now(UTC),
        notes=f"cannot be replayed: {why_not}" if why_not else None,
        # Without options as an earlier version reads it.
        sealed=encrypt(payload.dumps(sent if more else sent[:2]))
        if encrypt and is_masked
        else None,
        replayable=not why_not,
    )


def queue_of(delivery_info: Mapping[str, Any] | None, *, task_name: str) -> str | None:
    """Return the queue of a message, by its routing key, else by the task's name."""
    routing_key = (delivery_info or {}).get("routing_key") or ""
    for name in (routing_key.split(".")[0], *task_name.split(".")):
        if name in settings.QUEUES:
            return name
    return storable_name(routing_key) if routing_key else None


def class_name(error: BaseException) -> str:
    """Return the name of an exception's class, with its module unless it is built in.

    Celery wraps an exception that cannot be pickled; the name is that of the wrapped one.
    """
    if isinstance(error, UnpickleableExceptionWrapper):
        module, name = str(error.exc_module), str(error.exc_cls_name)
    else:
        module, name = type(error).__module__, type(error).__qualname__
    return storable_name(name if module == "builtins" else f"{module}.{name}")


def message_of(error: BaseException) -> str:
    """Return an exception's text, or why there is none."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 (an exception's own code can raise anything)
        return f"its text is not available: {type(broken).__qualname__}"


def _traceback(exception: BaseException) -> str:
    return "".join(traceback_module.format_exception(exception))
