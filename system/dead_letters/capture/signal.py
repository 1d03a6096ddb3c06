"""Record failures by Celery's signal, where the result backend does not report them."""

from __future__ import annotations

from typing import Any

from celery.app.task import Context

from system.dead_letters.capture.failure import encryptor, entry_of
from system.dead_letters.row import describe
from system.dead_letters.storage.keeper import keep, log_lost
from system.transport.endings import ReportingBackend


def record_failure(
    sender: Any,
    task_id: str,
    exception: BaseException,
    args: Any = None,
    kwargs: Any = None,
    einfo: Any = None,
    **_: object,
) -> None:
    """Write the row of a failure, unless the result backend has reported it; never raise."""
    if isinstance(sender.backend, ReportingBackend):
        return
    try:
        request = sender.request if sender.request.id else Context({"id": task_id})
        request = Context(vars(request) | {"args": args, "kwargs": kwargs})
        failure = describe(
            sender,
            request,
            exception,
            task_id=task_id,
            traceback=getattr(einfo, "traceback", None),
            encrypt=encryptor(),
        )
    except Exception as broken:  # noqa: BLE001 (any error must be logged, none raised)
        log_lost(broken, task_name=sender.name, task_id=task_id)
    else:
        keep(entry_of(failure, request.headers))
