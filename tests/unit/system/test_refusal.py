"""Letters of messages that the transport gives up."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from kombu.exceptions import DecodeError

from system.dead_letters import refusal
from system.dead_letters.consumer import letter_of
from system.errors import UndeliverableError

TENANT = "7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e"
APP: Any = SimpleNamespace(tasks={})


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A message as a transport gives it up."""

    queue: str = "llm"
    text: str
    envelope: Any
    deliveries: int = 5


def refused(body: Any, **headers: Any) -> Refused:
    """Return a message of a Celery client that was given up."""
    envelope = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {"body_encoding": "base64", "delivery_tag": "tag"},
    }
    return Refused(text=json.dumps(envelope), envelope=envelope)


def test_poison_message_is_a_letter_with_what_was_asked() -> None:
    """A message that killed its workers leaves its task, tenant, arguments and queue."""
    message = refusal.message_of(
        refused([["a"], {"n": 1}, {}], id="id-1", task="app.x", tenant_id=TENANT)
    )
    letter = letter_of(APP, message, UndeliverableError("again and again"))
    assert (letter.identity.task_id, letter.identity.task_name) == ("id-1", "app.x")
    assert (letter.identity.tenant_id, letter.queue) == (TENANT, "llm")
    assert (json.loads(letter.args), json.loads(letter.kwargs)) == (["a"], {"n": 1})
    assert (letter.error_kind, letter.replayable) == ("transient", True)


def test_unreadable_payload_is_a_letter_with_an_id_of_its_own() -> None:
    """A payload that is no envelope leaves a letter, under the same id each time."""
    first, again, other = (
        letter_of(
            APP, refusal.message_of(Refused(text=text, envelope=None)), DecodeError("no envelope")
        )
        for text in ("{broken", "{broken", "{other")
    )
    assert first.identity.task_id == again.identity.task_id != other.identity.task_id
    assert (first.queue, first.replayable) == ("llm", False)
    assert first.notes is not None
    assert "body of 7 bytes could not be read" in first.notes
