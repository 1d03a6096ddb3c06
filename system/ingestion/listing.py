"""Read dead events of all tenants and change their status, for operators.

Connects as `app_rw`, or as `app_ro` to read only, through functions of the database that refuse a
session with a tenant: as any other role, an operator's sees its own tenant's rows only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, text

from system.connections import database

_COLUMNS = """
    id::text AS id, tenant_id::text AS tenant_id, vendor, event_type, event_id, remediation_status,
    error_kind, error_type, error_message, retry_count, replayable, correlation_id, failed_at,
    last_retry_at, next_retry_at, resolved_at, remediation_notes
"""
SELECTED = """
    CAST(:ids AS uuid[]), CAST(:tenant_id AS uuid), :vendor, :error_kind,
    CAST(:not_before AS timestamptz), CAST(:not_after AS timestamptz)
"""
_FROM = f"FROM find_dead_events({SELECTED}, CAST(:statuses AS text[]), :most)"
_LIST = text(f"SELECT {_COLUMNS} {_FROM}")
_SHOW = text(f"SELECT {_COLUMNS}, payload::text AS payload, error_traceback, sealed {_FROM}")
_MOVE = text(
    f"SELECT {_COLUMNS} FROM move_dead_events(CAST(:ids AS uuid[]), :status, :note)"  # noqa: S608 (the same)
)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which rows; a field that is None does not restrict."""

    ids: Sequence[str] | None = None
    """Canonical UUIDs."""
    statuses: Sequence[str] | None = None
    tenant_id: str | None = None
    vendor: str | None = None
    error_kind: str | None = None
    """`transient` or `permanent`."""
    not_before: datetime | None = None
    """Aware time of the failure."""
    not_after: datetime | None = None

    def values(self) -> dict[str, Any]:
        """Return the parameters of the functions of the database."""
        return vars(self) | {
            "ids": None if self.ids is None else list(self.ids),
            "statuses": None if self.statuses is None else list(self.statuses),
        }


def find(which: Filter, *, most: int) -> list[dict[str, Any]]:
    """Return rows, the oldest failure first, without payload and traceback."""
    return _rows(_LIST, **which.values(), most=most)


def show(row_id: str) -> list[dict[str, Any]]:
    """Return the row of an id with all columns."""
    return _rows(_SHOW, **Filter(ids=[row_id]).values(), most=1)


def move(ids: Sequence[str], *, to: str, note: str | None) -> list[dict[str, Any]]:
    """Resolve or ignore rows that are pending or in progress, and return them.

    Args:
        ids: canonical UUIDs.
        to: `resolved` or `ignored`.
        note: appended to the notes of each.

    """
    return _rows(_MOVE, ids=list(ids), status=to, note=note)


def _rows(statement: TextClause, **values: Any) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return [dict(row) for row in connection.execute(statement, values).mappings()]
