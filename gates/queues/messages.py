"""Read the messages in the broker's table, as kombu writes them.

Source: kombu.transport.virtual (the envelope), Celery's message protocol 2 (the headers).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.probes.sql import SqlProbe

_WAITING = """
    SELECT m.payload::json #>> '{headers,id}', m.payload::json #>> '{headers,task}', q.name,
        m.payload::json #>> '{properties,delivery_info,routing_key}', m.visible
    FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id
    WHERE m.payload::json #>> '{headers,id}' = ANY(%s)
    ORDER BY m.id
"""

OTHERS_CLAIM = "%.pidbox"
"""The mailboxes of remote control, which never receive tasks."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One row of the message table."""

    task_id: str
    task: str
    queue: str
    routing_key: str
    visible: bool
    """Whether no worker has claimed it."""


def messages_of(probe: SqlProbe, task_ids: Iterable[str]) -> tuple[Message, ...]:
    """Return the messages of these tasks in the order in which they were written."""
    rows = probe.query(_WAITING, (list(task_ids),)).rows
    return tuple(
        Message(task_id=task_id, task=task, queue=queue, routing_key=key, visible=visible)
        for task_id, task, queue, key, visible in rows
    )


def task_queues(probe: SqlProbe) -> tuple[str, ...]:
    """Return the declared queues, without mailboxes of remote control."""
    rows = probe.query(
        "SELECT name FROM kombu_queue WHERE name NOT LIKE %s ORDER BY name", (OTHERS_CLAIM,)
    )
    return tuple(rows.column())
