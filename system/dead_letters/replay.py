"""Replay: a letter's task is sent anew as it was sent, and the letter is told how it went.

1. A letter is claimed: `pending` becomes `in_progress` under the id of a new task, for one replayer
   alone (SKIP LOCKED, in the function `claim_dead_letters`).
2. That task is sent to the letter's queue. Its header `dead_letter_id` names the letter.
3. Its end is written with its result, in one transaction: a success makes the letter `resolved`; a
   failure counts, says what it was now, and makes it `pending` again, due after a back-off that
   doubles each time, or `abandoned` after `SYSTEM_DEAD_LETTER_REPLAYS` of them. It leaves no letter
   of its own. Only the replay that a letter names settles it.
4. A replay of which nothing was heard for `LEASE` is given up: the next one who claims finds in the
   stored results whether it succeeded, and makes the letter `pending` if not. So a task that runs
   longer than that could be replayed while it still runs; a message that waits as long expires.

What could not be sent is `pending` again, due after the first back-off, and counts as no attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from system import settings
from system.connections import database
from system.dead_letters import encryption, payload, table
from system.dead_letters.row import class_name
from system.dead_letters.table import Settlement
from system.errors import ReferenceSystemError, SealError
from system.identity import HEADER_CORRELATION_ID, HEADER_DEAD_LETTER, HEADER_TENANT_ID

LEASE = timedelta(hours=6)
EXPIRES = LEASE - timedelta(minutes=5)
"""After what a message that nobody took is not run any more: before its letter is given up."""
BATCH = 20

_NOW = text("SELECT clock_timestamp()")
_CLAIM = text(
    """
    SELECT id::text AS id, task_id, task_name, queue, tenant_id::text AS tenant_id,
        args::text AS args, kwargs::text AS kwargs, sealed, correlation_id, replay_task_id
    FROM claim_dead_letters(
        CAST(:ids AS uuid[]), :task_name, CAST(:tenant_id AS uuid), :error_kind,
        CAST(:not_before AS timestamptz), CAST(:not_after AS timestamptz), :only_due,
        CAST(:untried_since AS timestamptz), :most, :lease
    )
    """
)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which letters; what is None does not matter."""

    ids: tuple[str, ...] | None = None
    """Canonical UUIDs."""
    task_name: str | None = None
    tenant_id: str | None = None
    error_kind: str | None = None
    """`transient` or `permanent`."""
    not_before: datetime | None = None
    """Of the failure; aware."""
    not_after: datetime | None = None
    only_due: bool = True
    """Leave those alone whose back-off is not over."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What became of one letter that was claimed."""

    id: str
    task_id: str
    task_name: str
    replay_id: str | None
    """The new task; None if it was not sent."""
    error: str | None = None
    """Why it was not sent."""


def replay(
    app: Any,
    selection: Selection,
    *,
    most: int,
    rate_per_s: float,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Replayed]:
    """Replay letters, the oldest first and each at most once, and tell of each as it is sent.

    Args:
        app: the Celery app that sends.
        selection: which; only `pending` ones that can be replayed are.
        most: how many at most.
        rate_per_s: how many are sent in a second at most.
        pause: waits so many seconds.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.

    """
    left = most
    # What fails again while this goes on is pending again, and not for this call.
    with database.transaction() as connection:
        began = connection.execute(_NOW).scalar_one()
    while left > 0:
        claimed = _claim(selection, most=min(left, BATCH), untried_since=began)
        if not claimed:
            return
        left -= len(claimed)
        try:
            while claimed:
                done = _send(app, claimed[0])
                claimed.pop(0)
                yield done
                pause(1 / rate_per_s)
        finally:
            for row in claimed:
                _give_back(row)


def _claim(selection: Selection, *, most: int, untried_since: datetime) -> list[dict[str, Any]]:
    ids = selection.ids
    values = asdict(selection) | {
        "ids": None if ids is None else list(ids),
        "untried_since": untried_since,
        "most": most,
        "lease": LEASE,
    }
    with database.transaction() as connection:
        return [dict(row) for row in connection.execute(_CLAIM, values).mappings()]


def _send(app: Any, row: dict[str, Any]) -> Replayed:
    known = {"id": row["id"], "task_id": row["task_id"], "task_name": row["task_name"]}
    try:
        args, kwargs = _arguments(row)
        headers = {
            HEADER_DEAD_LETTER: row["id"],
            HEADER_CORRELATION_ID: row["correlation_id"],
            HEADER_TENANT_ID: row["tenant_id"],
        }
        app.send_task(
            row["task_name"],
            args=args,
            kwargs=kwargs,
            task_id=row["replay_task_id"],
            expires=EXPIRES.total_seconds(),
            headers={name: value for name, value in headers.items() if value},
            **_route(row["queue"]),
        )
    except Exception as error:  # noqa: BLE001 (whatever keeps one from being sent, others may go)
        _give_back(row)
        said = str(error) if isinstance(error, ReferenceSystemError) else class_name(error)
        return Replayed(**known, replay_id=None, error=said)
    return Replayed(**known, replay_id=row["replay_task_id"])


def _arguments(row: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    if row["sealed"] is None:
        return payload.loads(row["args"]), payload.loads(row["kwargs"])
    sealer = encryption.sealer()
    if sealer is None:
        raise SealError(
            f"sealed arguments: got no key, expected one in {settings.KEYS}; set it to replay"
        )
    args, kwargs = payload.loads(sealer.unseal(row["sealed"]))
    return args, kwargs


def _route(queue: str | None) -> dict[str, str]:
    """Return where a letter's task goes: to its queue, or where its name leads."""
    if queue not in settings.QUEUES:
        return {}
    return {"queue": str(queue), "routing_key": f"{queue}.task"}


def _give_back(row: dict[str, Any]) -> None:
    with database.transaction() as connection:
        table.settle(
            connection,
            Settlement(letter_id=row["id"], replay_id=row["replay_task_id"], verdict="not sent"),
        )
