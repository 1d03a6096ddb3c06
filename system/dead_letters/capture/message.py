"""Make the dead-letter row of a message that never becomes a task, and keep it; never raise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celery.app.task import Context

from system import identity
from system.dead_letters.capture.failure import encryptor, entry_of, task_of
from system.dead_letters.options import WORKFLOW
from system.dead_letters.row import DeadLetter, describe
from system.dead_letters.storage.keeper import Kept, keep, log_lost


def keep_message(app: Any, message: Any, error: Exception) -> Kept:
    """Write the row of a message that was refused; return where it is kept."""
    headers = headers_of(message)
    try:
        failure = describe_message(app, message, error)
    except Exception as broken:  # noqa: BLE001 (any error must be logged, none raised)
        return log_lost(broken, task_name=headers.get("task"), task_id=str(headers.get("id")))
    return keep(entry_of(failure, headers))


def describe_message(app: Any, message: Any, error: Exception) -> DeadLetter:
    """Return the row of a message that was refused."""
    return describe(
        task_of_message(app, message),
        request_of(message),
        error,
        unreadable=_call_of(message).unreadable,
        encrypt=encryptor(),
    )


def request_of(message: Any) -> Context:
    """Return the request that a message would have become, as far as it can be read."""
    headers = identity.carry(dict(headers_of(message)))
    call = _call_of(message)
    return Context(
        headers
        | call.workflow
        | {
            "id": str(headers.get("id") or stable_id(message)),
            "args": call.args,
            "kwargs": call.kwargs,
            "delivery_info": message.delivery_info,
        }
    )


def stable_id(message: Any) -> str:
    """Return an id for a message without one: the same at each delivery of this message.

    The delivery tag is made when a message is sent and is stored with it, so that two messages
    with equal bodies have different ids.
    """
    digest = hashlib.sha256(str((message.properties or {}).get("delivery_tag")).encode())
    digest.update(_bytes(message.body))
    return f"message-{digest.hexdigest()[:32]}"


def task_of_message(app: Any, message: Any) -> Any:
    """Return the task that a message names, or a stand-in."""
    name = headers_of(message).get("task")
    return task_of(app, name if isinstance(name, str) else None)


def headers_of(message: Any) -> Mapping[str, Any]:
    """Return a message's headers; none where they are no mapping."""
    return message.headers if isinstance(message.headers, Mapping) else {}


@dataclass(frozen=True, kw_only=True)
class Call:
    """The body of a message, as far as it can be read."""

    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    workflow: dict[str, Any] = field(default_factory=dict)
    unreadable: str | None = None
    """Why the body cannot be read; then there is nothing else."""


def _call_of(message: Any) -> Call:
    try:
        body = message.payload
        if isinstance(body, Mapping):  # protocol 1
            args, kwargs, more = body.get("args") or [], body.get("kwargs") or {}, body
        else:
            args, kwargs, more = body
    except Exception:  # noqa: BLE001 (a body can break its decoder in any way)
        args = kwargs = more = None
    if isinstance(args, list | tuple) and isinstance(kwargs, Mapping):
        parts = more if isinstance(more, Mapping) else {}
        workflow = {name: parts[name] for name in WORKFLOW if parts.get(name)}
        return Call(args=list(args), kwargs=dict(kwargs), workflow=workflow)
    size = len(_bytes(message.body))
    return Call(unreadable=f"the message's body of {size} bytes could not be read")


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else str(body).encode("utf-8", "backslashreplace")
