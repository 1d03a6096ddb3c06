"""Read dead-letter rows and change their status, for operators.

Connects as `app_rw`, or as `app_ro` to read only. The policies decide which rows a role sees; a
role without a policy sees none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, text

from system.connections import database

_WHERE = """
    WHERE (CAST(:ids AS text[]) IS NULL OR id::text = ANY(:ids) OR task_id = ANY(:ids))
        AND (CAST(:statuses AS text[]) IS NULL OR status = ANY(:statuses))
        AND (CAST(:task_name AS text) IS NULL OR task_name = :task_name)
        AND (CAST(:tenant_id AS uuid) IS NULL OR tenant_id = CAST(:tenant_id AS uuid))
        AND (CAST(:error_kind AS text) IS NULL OR error_kind = :error_kind)
        AND (CAST(:not_before AS timestamptz) IS NULL OR failed_at >= :not_before)
        AND (CAST(:not_after AS timestamptz) IS NULL OR failed_at < :not_after)
"""
_COLUMNS = """
    id::text AS id, task_id, task_name, queue, tenant_id::text AS tenant_id, status, error_kind,
    exception_class, error_message, retry_count, replayable, correlation_id, failed_at,
    last_retry_at, due_at, resolved_at, replay_task_id, notes
"""
_LIST = text(
    f"SELECT {_COLUMNS} FROM worker_failed_jobs {_WHERE} ORDER BY failed_at, id LIMIT :most"  # noqa: S608 (of constants)
)
_SHOW = text(
    f"""
    SELECT {_COLUMNS}, args::text AS args, kwargs::text AS kwargs, options::text AS options,
        expires_at, traceback, sealed
    FROM worker_failed_jobs {_WHERE} ORDER BY failed_at, id LIMIT :most
    """  # noqa: S608 (the same)
)
_MOVE = text(
    f"""
    UPDATE worker_failed_jobs
    SET status = :to, replay_until = NULL,
        notes = nullif(concat_ws(E'\\n', notes, nullif(CAST(:note AS text), '')), ''),
        resolved_at = CASE WHEN :to = 'resolved' THEN now() ELSE resolved_at END,
        last_retry_at = CASE WHEN :to = 'abandoned' THEN now() ELSE last_retry_at END
    {_WHERE} AND status IN ('pending', 'in_progress')
    RETURNING {_COLUMNS}
    """  # noqa: S608 (the same)
)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which rows; a field that is None does not restrict."""

    ids: Sequence[str] | None = None
    """Ids of rows or of their tasks."""
    statuses: Sequence[str] | None = None
    task_name: str | None = None
    tenant_id: str | None = None
    error_kind: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None


def find(which: Filter, *, most: int) -> list[dict[str, Any]]:
    """Return rows, the oldest failure first, without arguments and traceback."""
    return _rows(_LIST, which, most=most)


def show(row_id: str) -> list[dict[str, Any]]:
    """Return the row of an id, its own or its task's, with all columns."""
    return _rows(_SHOW, Filter(ids=[row_id]), most=1)


def move(which: Filter, *, to: str, note: str | None) -> list[dict[str, Any]]:
    """Resolve or abandon rows that are pending or in progress, and return them.

    Args:
        which: selects among them.
        to: `resolved` or `abandoned`.
        note: appended to the notes of each, in a line of its own; nothing if it is empty.

    """
    return _rows(_MOVE, which, to=to, note=note)


def _rows(statement: TextClause, which: Filter, **more: Any) -> list[dict[str, Any]]:
    values = vars(which) | {
        "ids": None if which.ids is None else list(which.ids),
        "statuses": None if which.statuses is None else list(which.statuses),
    }
    with database.transaction() as connection:
        return [dict(row) for row in connection.execute(statement, values | more).mappings()]
