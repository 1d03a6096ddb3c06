"""Replay dead-letter rows: send the task of a row again, and record in the row how it ended.

1. A row is claimed: `pending` becomes `in_progress` under the id of a new task, by one replayer
   only (SKIP LOCKED, in the function `claim_dead_letters`).
2. That task is sent to the row's queue, with the rest of its workflow. Its header `dead_letter_id`
   names the row. A row whose message has expired is sent only if its id is given.
3. Its end is written with its result, in one transaction. A success makes the row `resolved`. A
   failure is counted and its error recorded; the row is `pending` again after a back-off that
   doubles each time, or `abandoned` after `SYSTEM_DEAD_LETTER_REPLAYS` failures. It leaves no row
   of its own. Only the replay that a row names can settle it.
4. The claim of a replay that does not end within `LEASE` expires. The next replayer reads in the
   stored results whether it succeeded, and makes the row `pending` if not. So a task that runs
   longer can be replayed while it still runs; a message that waits as long expires.

A task that cannot be sent leaves its row `pending`, due after the first back-off, and counts as no
attempt.
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
from system.dead_letters import encryption, payload
from system.dead_letters.options import sent_with
from system.dead_letters.row import class_name
from system.dead_letters.storage import table
from system.dead_letters.storage.entry import Settlement
from system.errors import ReferenceSystemError
from system.identity import HEADER_CORRELATION_ID, HEADER_DEAD_LETTER, HEADER_TENANT_ID

LEASE = timedelta(hours=6)
EXPIRES = LEASE - timedelta(minutes=5)
"""The age at which a waiting message expires; it must do so before its row's claim does."""
BATCH = 20

_NOW = text("SELECT clock_timestamp()")
_CLAIM = text(
    """
    SELECT id::text AS id, task_id, task_name, queue, tenant_id::text AS tenant_id,
        args::text AS args, kwargs::text AS kwargs, options::text AS options,
        extract(epoch FROM expires_at - now())::float AS expires_s, sealed, correlation_id,
        replay_task_id
    FROM claim_dead_letters(
        CAST(:ids AS uuid[]), :task_name, CAST(:tenant_id AS uuid), :error_kind,
        CAST(:not_before AS timestamptz), CAST(:not_after AS timestamptz), :only_due,
        CAST(:untried_since AS timestamptz), :most, :lease
    )
    ORDER BY failed_at, id
    """
)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows to replay; a field that is None does not restrict."""

    ids: tuple[str, ...] | None = None
    """Canonical UUIDs."""
    task_name: str | None = None
    tenant_id: str | None = None
    error_kind: str | None = None
    """`transient` or `permanent`."""
    not_before: datetime | None = None
    """Aware time of the failure."""
    not_after: datetime | None = None
    only_due: bool = True
    """Leave out rows whose back-off is not over."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The outcome of one claimed row."""

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
    """Replay rows, the oldest first and each at most once, and yield each outcome.

    Args:
        app: the Celery app that sends.
        selection: which rows; only replayable `pending` rows are taken.
        most: the greatest number of rows.
        rate_per_s: the greatest number of tasks sent in a second.
        pause: waits the given number of seconds.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.

    """
    left = most
    # A row that fails again during this call is pending again, but not for this call.
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
        args, kwargs, options = _call(row)
        headers = options.pop("headers", {}) | {
            HEADER_DEAD_LETTER: row["id"],
            HEADER_CORRELATION_ID: row["correlation_id"],
            HEADER_TENANT_ID: row["tenant_id"],
        }
        app.send_task(
            row["task_name"],
            args=args,
            kwargs=kwargs,
            task_id=row["replay_task_id"],
            expires=_expires_s(row["expires_s"]),
            headers={name: value for name, value in headers.items() if value},
            add_to_parent=False,
            **_route(row["queue"]),
            **sent_with({"root_id": row["task_id"], **options}),
        )
    except Exception as error:  # noqa: BLE001 (one that cannot be sent must not stop the others)
        _give_back(row)
        reason = str(error) if isinstance(error, ReferenceSystemError) else class_name(error)
        return Replayed(**known, replay_id=None, error=reason)
    return Replayed(**known, replay_id=row["replay_task_id"])


def _call(row: dict[str, Any]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Return arguments and options of a row."""
    if row["sealed"] is None:
        args, kwargs, options = (payload.loads(row[name]) for name in ("args", "kwargs", "options"))
        return args, kwargs, options
    cipher = encryption.required_cipher()
    # A row that was written before the options has none.
    args, kwargs, options = (*payload.loads(cipher.decrypt(row["sealed"])), {})[:3]
    return args, kwargs, options


def _expires_s(left_s: float | None) -> float:
    """Return when a replay expires: with the first message, if that has not expired yet."""
    longest = EXPIRES.total_seconds()
    return longest if left_s is None or left_s <= 0 else min(left_s, longest)


def _route(queue: str | None) -> dict[str, str]:
    """Return the route to a row's queue; none if the task's name decides."""
    if queue not in settings.QUEUES:
        return {}
    return {"queue": str(queue), "routing_key": f"{queue}.task"}


def _give_back(row: dict[str, Any]) -> None:
    with database.transaction() as connection:
        table.settle(
            connection,
            Settlement(row_id=row["id"], replay_id=row["replay_task_id"], verdict="not sent"),
        )
