"""Write the rows of stored failures that have none, and delete rows that are no longer needed.

A failure and its row are stored in one transaction. A failure that another program stored, or an
older version of this one, can lack a row: the stored result provides it. A result does not hold
the task's arguments, so that the row cannot be replayed, and nothing identifies the sensitive parts
of the error's text: only the error's class is kept.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from system import settings
from system.connections import database
from system.dead_letters.capture import failure
from system.dead_letters.row import DeadLetter, queue_of
from system.dead_letters.storage import table
from system.dead_letters.storage.drain import drain
from system.identity import Identity

SETTLED = timedelta(minutes=1)
"""The least age of a result: a younger one can still get its row."""
BATCH = 1000

_MISSING = text("SELECT * FROM failures_without_letter(:settled, :most)")
_DELETE_OLD = text("SELECT delete_old_dead_letters(:age, :most)")


def reconcile(*, most: int) -> int:
    """Write the row of every stored failure that has none, and return how many.

    Spooled entries go first: they hold more than a result does.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.

    """
    drain()
    with database.transaction() as connection:
        values = {"settled": SETTLED, "most": most}
        rows = connection.execute(_MISSING, values).mappings().all()
        for row in rows:
            table.put(connection, describe_result(dict(row)))
    return len(rows)


def delete_old() -> int:
    """Delete rows that were resolved or abandoned long ago, and return how many.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.

    """
    age = timedelta(days=settings.dead_letters_from(os.environ).retention_days)
    deleted = 0
    while True:
        with database.transaction() as connection:
            batch: int = connection.execute(_DELETE_OLD, {"age": age, "most": BATCH}).scalar_one()
        deleted += batch
        if batch < BATCH:
            return deleted


def describe_result(row: dict[str, Any]) -> DeadLetter:
    """Return the row of a stored failure: `task_id`, `name`, `result`, `traceback`, `failed_at`."""
    name = row["name"] or failure.UNKNOWN_TASK
    task_id = row["task_id"]
    return DeadLetter(
        identity=Identity(task_name=name, task_id=task_id, tenant_id=None, correlation_id=task_id),
        queue=queue_of(None, task_name=name),
        args="[]",
        kwargs="{}",
        exception_class=_class_of(row["result"]),
        error_message=failure.NOT_KEPT,
        traceback=None,
        error_kind="permanent",
        failed_at=row["failed_at"],
        notes="cannot be replayed: made from the stored result, which holds no arguments",
        replayable=False,
    )


def _class_of(result: bytes | None) -> str:
    """Return the class of the error in a result, as far as it can be read."""
    try:
        stored = json.loads(bytes(result or b""))
        name, module = str(stored["exc_type"]), stored.get("exc_module")
    except (ValueError, TypeError, KeyError, AttributeError):
        return "unknown"
    return name if module in {None, "builtins"} else f"{module}.{name}"
