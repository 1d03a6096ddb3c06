"""Identify a task in logs and dead letters: its name, id, tenant and correlation id.

Owns how these are found in a request, and the two message headers that carry them to the worker's
parent, which never sees the arguments. `system.observability.logs` and `system.dead_letters` write
them.

The correlation id is sent in the message header `correlation_id`. Celery overwrites that key of the
request with the message *property* of the same name (the task id). So the header is copied to a
separate key when the message arrives; a retry sends that key on.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import signals

from system.connections.text import storable_name

HEADER_CORRELATION_ID = "correlation_id"
HEADER_TENANT_ID = "tenant_id"
HEADER_DEAD_LETTER = "dead_letter_id"
"""The header with the id of the row that a task replays."""
_KEPT_CORRELATION_ID = "system_correlation_id"
OWN_HEADERS = frozenset(
    {HEADER_CORRELATION_ID, HEADER_TENANT_ID, HEADER_DEAD_LETTER, _KEPT_CORRELATION_ID}
)
"""The headers that the system itself sends."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Identifies one run of a task."""

    task_name: str
    task_id: str
    tenant_id: str | None
    """A canonical UUID; None for a global task, or for a value that is no UUID."""
    correlation_id: str


def identify(
    task: Any,
    request: Any,
    *,
    task_id: str | None = None,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Identity:
    """Return the identity of the task that a request runs.

    Args:
        task: the Celery task.
        request: its `celery.app.task.Context`, possibly an empty one.
        task_id: a signal's value, used if the request has none.
        args, kwargs: a signal's values; the request's own by default.

    """
    named = arguments_by_name(task, args or request.args, kwargs or request.kwargs)
    headers = request.headers or {}
    known_id = storable_name(request.id or task_id or "")
    return Identity(
        task_name=storable_name(task.name),
        task_id=known_id,
        tenant_id=canonical_uuid(named.get("tenant_id") or headers.get(HEADER_TENANT_ID)),
        correlation_id=storable_name(
            named.get("correlation_id") or headers.get(_KEPT_CORRELATION_ID) or known_id
        ),
    )


def arguments_by_name(
    task: Any, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return a task's arguments by parameter name, as far as they have one."""
    positional = list(inspect.signature(task.run).parameters)
    return dict(zip(positional, args or (), strict=False)) | dict(kwargs or {})


def parameters_of(task: Any, count: int) -> list[str]:
    """Return the names of a task's first parameters; empty beyond those that it has.

    The name of `*rest` is that of every argument that it takes.
    """
    names: list[str] = []
    for name, parameter in inspect.signature(task.run).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [name] * (count - len(names))
        elif parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            names.append(name)
    return [*names, *[""] * count][:count]


def canonical_uuid(value: object) -> str | None:
    """Return a UUID's canonical text; None for anything else (braces and URNs included)."""
    if isinstance(value, uuid.UUID):
        return str(value)
    try:
        parsed = str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None
    return parsed if isinstance(value, str) and parsed == value.lower() else None


def connect() -> None:
    """Connect the signals that put identities into messages; a second call changes nothing."""
    signals.before_task_publish.connect(_stamp, weak=False, dispatch_uid="system.identity.stamp")
    signals.task_received.connect(_keep, weak=False, dispatch_uid="system.identity.keep")


def _stamp(headers: dict[str, Any], body: Any, **_: object) -> None:
    """Copy tenant and correlation id from a message's keyword arguments into its headers."""
    kwargs = body[1] if isinstance(body, tuple | list) and len(body) > 1 else {}
    tenant_id = canonical_uuid(kwargs.get("tenant_id"))
    if tenant_id:
        headers.setdefault(HEADER_TENANT_ID, tenant_id)
    if kwargs.get("correlation_id"):
        headers.setdefault(HEADER_CORRELATION_ID, str(kwargs["correlation_id"]))


def carry(headers: dict[str, Any]) -> dict[str, Any]:
    """Copy a message's correlation id in its headers to a key that Celery does not overwrite."""
    sent = headers.get(HEADER_CORRELATION_ID)
    if sent:
        headers.setdefault(_KEPT_CORRELATION_ID, str(sent))
    return headers


def _keep(request: Any, **_: object) -> None:
    """Pass the copied header on to the process that runs the task."""
    kept = carry(dict(request.message.headers)).get(_KEPT_CORRELATION_ID)
    if kept:
        request.request_dict[_KEPT_CORRELATION_ID] = kept
