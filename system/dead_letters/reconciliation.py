"""What has to be done now and then: letters that are missing, and those that are of no more use.

A failure whose result is stored has its letter in the same transaction. One that another program
stored, or this one before it did so, may have none: what the result tells is written as a letter.
What the task was asked is not in there, so that it cannot be replayed, and nothing tells which of
the error's words are sensitive: of the error only the class is kept.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from system import settings
from system.connections import database
from system.dead_letters import capture, table
from system.dead_letters.row import DeadLetter, queue_of
from system.identity import Identity

SETTLED = timedelta(minutes=1)
"""How old a result must be: a letter of its own may still be on its way."""
BATCH = 1000

_MISSING = text("SELECT * FROM failures_without_letter(:settled, :most)")
_RETIRE = text("SELECT delete_old_dead_letters(:age, :most)")


def reconcile(*, most: int) -> int:
    """Write the letter of every stored failure that has none, and return how many.

    What waits on disk goes first: it says more than a result does.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.

    """
    capture.drain()
    with database.transaction() as connection:
        values = {"settled": SETTLED, "most": most}
        rows = connection.execute(_MISSING, values).mappings().all()
        for row in rows:
            table.put(connection, letter_of(dict(row)))
    return len(rows)


def retire() -> int:
    """Delete letters that were resolved or abandoned long ago, and return how many.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.

    """
    age = timedelta(days=settings.dead_letters_from(os.environ).retention_days)
    deleted = 0
    while True:
        with database.transaction() as connection:
            batch: int = connection.execute(_RETIRE, {"age": age, "most": BATCH}).scalar_one()
        deleted += batch
        if batch < BATCH:
            return deleted


def letter_of(row: dict[str, Any]) -> DeadLetter:
    """Return what a stored failure tells: `task_id`, `name`, `result`, `traceback`, `failed_at`."""
    name = row["name"] or capture.UNKNOWN_TASK
    task_id = row["task_id"]
    return DeadLetter(
        identity=Identity(task_name=name, task_id=task_id, tenant_id=None, correlation_id=task_id),
        queue=queue_of(None, task_name=name),
        args="[]",
        kwargs="{}",
        exception_class=_class_of(row["result"]),
        error_message=capture.NOT_KEPT,
        traceback=None,
        error_kind="permanent",
        failed_at=row["failed_at"],
        notes="cannot be replayed: written from the stored result, which does not hold what"
        " was asked",
        replayable=False,
    )


def _class_of(result: bytes | None) -> str:
    """Return the class of the error that a result holds, as far as it can be read."""
    try:
        told = json.loads(bytes(result or b""))
        name, module = str(told["exc_type"]), told.get("exc_module")
    except (ValueError, TypeError, KeyError, AttributeError):
        return "unknown"
    return name if module in {None, "builtins"} else f"{module}.{name}"
