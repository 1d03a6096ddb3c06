"""The letters of messages that the transport gives up: nobody lived to run them, or they are none.

A message whose workers all died is a failure of its task: it gets a result too, in one transaction
with its letter. What cannot even be read as a message is kept by its text's digest.
"""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

from celery import current_app
from celery.exceptions import InvalidTaskError

from system.dead_letters import capture
from system.dead_letters.consumer import letter_of, request_of
from system.errors import SpoolError, UndeliverableError
from system.transport.refusals import Refusal, take_refusals


def connect() -> None:
    """Take what the transport refuses; a second call changes nothing."""
    take_refusals("dead letters", keep)


def keep(refusal: Refusal) -> None:
    """Write the result and the letter of a refused message, or its letter alone.

    Raises:
        SpoolError: neither the database nor the disk took the letter; the message must stay.

    """
    lost = capture.losses()
    _keep(refusal)
    if capture.losses() > lost:
        raise SpoolError(
            f"message in queue {refusal.queue}: got no place for its letter, expected one; see "
            "what the log says of database and spool"
        )


def _keep(refusal: Refusal) -> None:
    if refusal.message is None:
        unreadable = InvalidTaskError(_unreadable(refusal))
        capture.keep(letter_of(current_app, _stand_in(refusal), unreadable))
        return
    error = UndeliverableError(
        f"message in queue {refusal.queue}: got handed out {refusal.deliveries} times, expected "
        "one worker to live until its end; look for what the task does to its worker"
    )
    request: Any = request_of(refusal.message)
    current_app.backend.mark_as_failure(request.id, error, request=request)


def _unreadable(refusal: Refusal) -> str:
    return (
        f"message in queue {refusal.queue}: got {len(refusal.text)} characters that are no "
        "message, expected kombu's JSON; look for who else writes into the table"
    )


def _stand_in(refusal: Refusal) -> Any:
    """Return what a message of these characters would be."""
    digest = hashlib.sha256(refusal.text.encode("utf-8", "backslashreplace")).hexdigest()
    return SimpleNamespace(
        headers={},
        properties={"delivery_tag": digest},
        delivery_info={"routing_key": refusal.queue},
        body=refusal.text,
        payload=None,
    )
