"""Letters of messages that the transport gives up: it hands out none of them again.

A message that was handed out too often, each time to a worker that died with it, and one that
cannot be read. The transport keeps a message until this has returned.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

from celery import states
from kombu.exceptions import DecodeError
from kombu.message import Message

from system.dead_letters import capture, table
from system.dead_letters.consumer import letter_of
from system.errors import UndeliverableError


class Refusal(Protocol):
    """A message, and why it is not handed out; `system.transport`'s."""

    @property
    def queue(self) -> str:
        """Its queue."""
        ...

    @property
    def text(self) -> str:
        """The stored payload."""
        ...

    @property
    def envelope(self) -> Mapping[str, Any] | None:
        """The payload read; None where it cannot be."""
        ...

    @property
    def deliveries(self) -> int:
        """How often it was handed out before."""
        ...


def take(app: Any, refusal: Refusal) -> None:
    """Write the letter of a message, and its result where it names a task.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database did not take it.

    """
    if refusal.envelope is None:
        error: Exception = DecodeError("message: got a payload that is no JSON object")
    else:
        error = UndeliverableError(
            f"message: got handed out {refusal.deliveries} times, each time to a worker that died"
            " with it; find out why before it is replayed"
        )
    message = message_of(refusal)
    letter = letter_of(app, message, error)
    table.write(capture.entry_of(letter, message.headers))
    task_id = message.headers.get("id")
    if task_id:
        app.backend.store_result(str(task_id), error, states.FAILURE)


def message_of(refusal: Refusal) -> Message:
    """Return the message that an envelope holds, as a consumer would have been given it."""
    envelope = refusal.envelope or {}
    properties = dict(envelope.get("properties") or {})
    body: Any = envelope.get("body", refusal.text)
    if properties.get("body_encoding") == "base64":
        body = base64.b64decode(body)
    digest = hashlib.sha256(refusal.text.encode("utf-8", "backslashreplace")).hexdigest()
    properties.setdefault("delivery_tag", digest)
    return Message(
        body=body,
        headers=dict(envelope.get("headers") or {}),
        properties=properties,
        content_type=envelope.get("content-type"),
        content_encoding=envelope.get("content-encoding"),
        delivery_info={"routing_key": f"{refusal.queue}.task"},
        accept={"application/json"},
    )
