"""Make the dead-letter row of a request that failed; never raise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from celery.app.task import Context

from system.dead_letters import encryption
from system.dead_letters.options import WORKFLOW
from system.dead_letters.row import DeadLetter, UnregisteredTask, describe
from system.dead_letters.storage.entry import Entry, Settlement
from system.dead_letters.storage.keeper import log_lost
from system.errors import ConfigurationError
from system.identity import HEADER_DEAD_LETTER, canonical_uuid

UNKNOWN_TASK = "unknown"
NOT_KEPT = "not kept: without the arguments, the sensitive values in it are unknown"

log = structlog.get_logger("system.dead_letters")


def describe_failure(
    app: Any, task_id: str, error: BaseException, traceback: str | None, request: Any
) -> DeadLetter | None:
    """Return the row of a failure that is being stored.

    Returns:
        None for an unknown task, whose message the consumer has recorded with more detail, and
        where the row cannot be made, which is logged.

    """
    if request is not None and not isinstance(request, Context):
        return None
    try:
        if request is None:
            return describe_without_arguments(app, Context({"id": task_id}), error)
        task = task_of(app, getattr(request, "task", None))
        try:
            return describe(
                task, request, error, task_id=task_id, traceback=traceback, encrypt=encryptor()
            )
        except (TypeError, ValueError, RecursionError):
            # The task received the request's own objects, and may have changed them.
            return describe_without_arguments(app, request, error)
    except Exception as broken:  # noqa: BLE001 (any error must be logged, none raised)
        log_lost(broken, task_name=getattr(request, "task", None), task_id=task_id)
        return None


def describe_without_arguments(app: Any, request: Context, error: BaseException) -> DeadLetter:
    """Return the row of a failure whose arguments are unknown or have no JSON form.

    Without the arguments nothing identifies the sensitive parts of the error's text, so that only
    the error's class is kept.
    """
    bare = Context(vars(request) | {"args": (), "kwargs": {}} | dict.fromkeys(WORKFLOW))
    made = describe(
        task_of(app, getattr(request, "task", None)),
        bare,
        error,
        unreadable="its arguments are unknown or cannot be written",
    )
    return replace(made, error_message=NOT_KEPT, traceback=None)


def entry_of(failure: DeadLetter, headers: Mapping[str, Any] | None) -> Entry:
    """Return what to store for a failure: a row of its own, or the end of a failed replay."""
    row_id = replayed_row(headers)
    if row_id is None:
        return failure
    return Settlement(
        row_id=row_id, replay_id=failure.identity.task_id, verdict="failed", failure=failure
    )


def replayed_row(headers: Mapping[str, Any] | None) -> str | None:
    """Return the id of the row that a task replays, by its headers; None for any other task."""
    return canonical_uuid((headers or {}).get(HEADER_DEAD_LETTER))


def task_of(app: Any, name: str | None) -> Any:
    """Return the task of a name, or a stand-in for a task that is not registered."""
    return app.tasks.get(name) or UnregisteredTask(name or UNKNOWN_TASK)


def encryptor() -> Callable[[str], str] | None:
    """Return the function that encrypts; None without a key, or with a bad one, which is logged."""
    try:
        cipher = encryption.cipher()
    except ConfigurationError as error:
        log.error("dead letters are not encrypted", error=str(error))  # noqa: TRY400 (no traceback)
        return None
    return cipher.encrypt if cipher else None
