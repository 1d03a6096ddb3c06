"""Write the dead-letter row of each message that the transport refuses.

A message that exhausted its deliveries is a failure of its task: it gets a result too, in one
transaction with its row. Text that cannot be read as a message is identified by its digest.
"""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

from celery import current_app
from celery.exceptions import InvalidTaskError

from system.dead_letters.capture.message import keep_message, request_of
from system.dead_letters.storage.keeper import Kept, Lost, Spooled, Written
from system.errors import SpoolError, UndeliverableError
from system.transport.endings import ReportingBackend
from system.transport.refusals import Refusal, handle_refusals


def connect() -> None:
    """Receive every message that the transport refuses; a second call changes nothing."""
    handle_refusals("dead letters", keep)


def keep(refusal: Refusal) -> None:
    """Write the result and the row of a refused message, or its row alone.

    Raises:
        SpoolError: neither the database nor the disk took the row; the message must stay.

    """
    if isinstance(_keep(refusal), Lost):
        raise SpoolError(
            f"message in queue {refusal.queue}: got no place for its dead-letter row, expected "
            "one; see the log lines about database and spool"
        )


def _keep(refusal: Refusal) -> Kept:
    if refusal.message is None:
        return keep_message(current_app, _stand_in(refusal), InvalidTaskError(_unreadable(refusal)))
    error = UndeliverableError(
        f"message in queue {refusal.queue}: got {refusal.deliveries} deliveries, expected one "
        "worker to survive the task; find out how the task ends its worker"
    )
    request: Any = request_of(refusal.message)
    backend = current_app.backend
    if not isinstance(backend, ReportingBackend):
        backend.mark_as_failure(request.id, error, request=request)
        return keep_message(current_app, refusal.message, error)
    kept = backend.report_failure(request.id, error, None, request)
    # Without an answer the row could not be made, which is logged.
    return kept if isinstance(kept, Written | Spooled) else Lost(error)


def _unreadable(refusal: Refusal) -> str:
    return (
        f"message in queue {refusal.queue}: got {len(refusal.text)} characters that are no "
        "message, expected kombu's JSON; find out which program writes into the table"
    )


def _stand_in(refusal: Refusal) -> Any:
    """Return an object with the attributes of a message, for text that is none."""
    digest = hashlib.sha256(refusal.text.encode("utf-8", "backslashreplace")).hexdigest()
    return SimpleNamespace(
        headers={},
        properties={"delivery_tag": digest},
        delivery_info={"routing_key": refusal.queue},
        body=refusal.text,
        payload=None,
    )
