"""The background jobs of the helpdesk."""

from __future__ import annotations

import os

from celery import Celery
from sqlalchemy import text

from helpdesk.store import URL, workspace

desk = Celery("helpdesk")
desk.conf.update(
    broker_url=f"sqla+{os.environ.get(URL, 'postgresql+psycopg2://none@127.0.0.1:9/none')}",
    result_backend=f"db+{os.environ.get(URL, 'postgresql+psycopg2://none@127.0.0.1:9/none')}",
    task_default_queue="desk",
    task_routes={"helpdesk.reports.*": {"queue": "reports"}},
    broker_connection_retry_on_startup=True,
)


@desk.task(name="helpdesk.tickets.answer")
def answer(workspace_name: str, ticket: int) -> str:
    """Answer a ticket, and return its new state."""
    with workspace(workspace_name) as connection:
        changed = connection.execute(
            text("UPDATE tickets SET state = 'answered' WHERE id = :id RETURNING state"),
            {"id": ticket},
        )
        return str(changed.scalar_one())


@desk.task(name="helpdesk.reports.count_open")
def count_open(workspace_name: str) -> int:
    """Return the number of tickets that wait for an answer."""
    with workspace(workspace_name) as connection:
        found = connection.execute(text("SELECT count(*) FROM tickets WHERE state = 'open'"))
        return int(found.scalar_one())
