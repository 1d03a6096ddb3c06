"""Retry dead events: store each again, and record in its row how that ended.

1. A row is claimed: `pending` becomes `in_progress`, by one retry only (SKIP LOCKED, in the
   function `claim_dead_events`). The claim of a retry that does not end expires.
2. Its event is checked against the contract and stored. An event that was delivered again in the
   meantime is stored already, which resolves the row too: an event has one row.
3. In the same transaction the row is `resolved`.
4. After a failure it is `pending` again. A transient one is due after a pause that doubles, up to
   `MOST_RETRIES` times, and the task that retries it is published for that time. A permanent one
   waits for an operator.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text
from structlog.contextvars import bound_contextvars

from system.connections import database
from system.connections.text import storable
from system.dead_letters.masking import mask_text
from system.dead_letters.row import class_name, message_of
from system.errors import IngestionError
from system.ingestion import dead_event
from system.ingestion.contract import contract_of
from system.ingestion.event import Event
from system.ingestion.listing import SELECTED, Filter
from system.ingestion.storing import store

LEASE = timedelta(minutes=5)
BATCH = 20
SLACK = timedelta(milliseconds=500)
"""How long after a row is due its task runs: the clocks of worker and database differ."""

log = structlog.get_logger("system.ingestion")

_NOW = text("SELECT clock_timestamp()")
_CLAIM = text(
    f"""
    SELECT id::text AS id, claim::text AS claim, tenant_id, vendor, event_type, event_id,
        occurred_at, payload::text AS payload, sealed, correlation_id, retry_count
    FROM claim_dead_events({SELECTED}, :only_due, :untried_since, :most, :lease)
    ORDER BY failed_at, id
    """  # noqa: S608 (of constants)
)
_SETTLE = text(
    """
    SELECT settle_dead_event(
        CAST(:id AS uuid), CAST(:claim AS uuid), :is_stored, :error_type, :error_message,
        :error_traceback, :error_kind, CAST(:pause AS interval), :most
    )
    """
)


@dataclass(frozen=True, kw_only=True)
class Retried:
    """The outcome of one claimed row."""

    id: str
    event_id: str
    event_row: str | None
    """The row of `attribution_events`; None if it is not stored."""
    error: str | None = None
    """Why it is not stored."""


def retry(app: Any, which: Filter, *, most: int, only_due: bool) -> Iterator[Retried]:
    """Retry rows, the oldest first and each at most once, and yield each outcome.

    Args:
        app: the Celery app that publishes.
        which: selects among the `pending` rows that can be retried; its statuses do not count.
        most: the greatest number of rows.
        only_due: leave out rows that are not due, or wait for an operator.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.

    """
    # A row that fails again during this call is pending again, but not for this call.
    with database.transaction() as connection:
        began = connection.execute(_NOW).scalar_one()
    left = most
    while left > 0:
        rows = _claim(which, most=min(left, BATCH), only_due=only_due, untried_since=began)
        if not rows:
            return
        left -= len(rows)
        for row in rows:
            known = {"correlation_id": row["correlation_id"], "tenant_id": str(row["tenant_id"])}
            with bound_contextvars(**known):
                done = _retry(app, row)
                log.info("dead event retried", **vars(done))
            yield done


def _claim(
    which: Filter, *, most: int, only_due: bool, untried_since: datetime
) -> list[dict[str, Any]]:
    values = which.values() | {
        "only_due": only_due,
        "untried_since": untried_since,
        "most": most,
        "lease": LEASE,
    }
    with database.transaction() as connection:
        return [dict(row) for row in connection.execute(_CLAIM, values).mappings()]


def _retry(app: Any, row: dict[str, Any]) -> Retried:
    known = {"id": row["id"], "event_id": row["event_id"]}
    try:
        event = _event_of(row)
        with database.transaction() as connection:
            stored = store(app, connection, event)  # 2
            database.set_tenant(connection, None)
            connection.execute(_SETTLE, _ending(row, is_stored=True))  # 3
    except Exception as error:  # noqa: BLE001 (one that cannot be stored must not stop the others)
        _fail(app, row, error)  # 4
        return Retried(**known, event_row=None, error=class_name(error))
    return Retried(**known, event_row=str(stored.id))


def _event_of(row: dict[str, Any]) -> Event:
    """Return the event of a row.

    Raises:
        IngestionError: its vendor's contract still forbids it, or it has no id or no time.
        EncryptionError: its body is encrypted, and no key fits.

    """
    body = dead_event.text_of(row)
    value = dead_event.value_of(body)
    findings = contract_of(row["vendor"]).body_findings(value)
    if row["occurred_at"] is None or row["event_type"] == dead_event.UNKNOWN:
        findings.append("event: got no type or no time, expected both")
    if findings:
        raise IngestionError(f"contract of {row['vendor']}: {'; '.join(findings)}")
    return Event(
        tenant_id=UUID(str(row["tenant_id"])),
        vendor=row["vendor"],
        event_type=row["event_type"],
        event_id=row["event_id"],
        occurred_at=row["occurred_at"],
        text=body,
        correlation_id=row["correlation_id"] or row["id"],
    )


def _fail(app: Any, row: dict[str, Any], error: Exception) -> None:
    kind = dead_event.kind_of(error)
    pause = dead_event.pause_after(row["retry_count"] + 1)
    values = _ending(row, is_stored=False) | {
        "error_type": class_name(error),
        "error_message": mask_text(message_of(error)),
        "error_traceback": storable(mask_text("".join(traceback.format_exception(error)))),
        "error_kind": kind,
        "pause": pause,
    }
    is_due_again = kind == dead_event.TRANSIENT and row["retry_count"] + 1 < dead_event.MOST_RETRIES
    with database.transaction() as connection:
        connection.execute(_SETTLE, values)
        if is_due_again:
            dead_event.publish_retry(app, connection, datetime.now(UTC) + pause + SLACK)


def _ending(row: dict[str, Any], *, is_stored: bool) -> dict[str, Any]:
    nothing = dict.fromkeys(("error_type", "error_message", "error_traceback", "error_kind"))
    return nothing | {
        "id": row["id"],
        "claim": row["claim"],
        "is_stored": is_stored,
        "pause": timedelta(),
        "most": dead_event.MOST_RETRIES,
    }
