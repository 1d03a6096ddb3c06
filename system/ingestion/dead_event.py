"""Describe a signed event that could not be stored, and write its row.

The payload is masked by the rules of dead-letter rows. Where a part is masked, the original is
encrypted with their key; without one, the event cannot be retried, and the row says
so. A transient failure is due at once, and its retry is published with the row.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from system import settings
from system.connections.text import storable, storable_name
from system.dead_letters import encryption, payload
from system.dead_letters.masking import Masking
from system.dead_letters.row import NOT_ENCRYPTED, class_name, message_of
from system.ingestion.storing import begin
from system.transport.joined import publishing_in

RETRY = "app.tasks.maintenance.retry_dead_events"
UNKNOWN = "unknown"
"""The type of an event that its vendor's contract forbids in such a way that it has none."""
LONGEST = timedelta(hours=1)
MOST_RETRIES = 8

TRANSIENT, PERMANENT = "transient", "permanent"

_INSERT = text(
    """
    INSERT INTO dead_events (
        tenant_id, vendor, event_type, event_id, occurred_at, error_type, error_kind, error_message,
        error_traceback, payload, sealed, replayable, correlation_id, next_retry_at,
        remediation_notes, failed_at
    ) VALUES (
        :tenant_id, :vendor, :event_type, :event_id, :occurred_at, :error_type, :error_kind,
        :error_message, :error_traceback, :payload, :sealed, :replayable, :correlation_id,
        :next_retry_at, :remediation_notes, :failed_at
    )
    ON CONFLICT (tenant_id, vendor, event_id)
        WHERE remediation_status IN ('pending', 'in_progress') DO NOTHING
    """
)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A signed event that could not be stored, as far as it is known."""

    tenant_id: UUID
    vendor: str
    event_type: str
    event_id: str
    occurred_at: datetime | None
    """Aware; None if the vendor's time cannot be read."""
    text: str = field(repr=False)
    """The body, JSON."""
    value: Any = field(repr=False)
    """The same, parsed."""
    correlation_id: str
    error: BaseException


def kind_of(error: BaseException) -> str:
    """Return whether a further attempt can succeed: `transient` or `permanent`."""
    is_transient = isinstance(error, OperationalError | BrokerError | ConnectionError)
    return TRANSIENT if is_transient else PERMANENT


def is_away(error: BaseException | None) -> bool:
    """Return whether the database itself cannot be reached, so that no row can be written."""
    while error is not None:
        if isinstance(error, DBAPIError):
            return error.connection_invalidated or not getattr(error.orig, "pgcode", None)
        error = error.__cause__
    return False


def fallback_id(raw: bytes) -> str:
    """Return an id for a body without one, so that its next delivery makes no second row."""
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def pause_after(retries: int) -> timedelta:
    """Return how long to wait after a failed retry: doubled by each, at most an hour, with jitter.

    The jitter adds up to a half, so that rows that failed together are not retried together.
    """
    jitter = random.uniform(1, 1.5)  # noqa: S311 (not for security)
    pause_s = settings.retry_pause_s_from(os.environ) * 2 ** min(retries, 20) * jitter
    return min(timedelta(seconds=pause_s), LONGEST)


def keep(app: Any, connection: Connection, failed: Failed) -> bool:
    """Write the row in an open transaction, and publish its retry; the caller commits.

    Returns:
        False if the event has an open row already.

    Raises:
        sqlalchemy.exc.DBAPIError: the row was not written.

    """
    begin(connection, failed.tenant_id)
    values = row_of(failed)
    if not connection.execute(_INSERT, values).rowcount:
        return False
    if values["next_retry_at"] is not None:
        publish_retry(app, connection, values["next_retry_at"])
    return True


def publish_retry(app: Any, connection: Connection, due: datetime) -> None:
    """Publish the task that retries what is due, for a time, in an open transaction."""
    with publishing_in(connection):
        app.send_task(RETRY, eta=due, retry=False, add_to_parent=False)


def row_of(failed: Failed) -> dict[str, Any]:
    """Return the columns of the row of a failed event."""
    mask = Masking(keys=frozenset())
    shown = mask.repeated(mask.value(failed.value))
    is_masked = shown != failed.value
    cipher = encryption.cipher() if is_masked else None
    why_not = NOT_ENCRYPTED if is_masked and cipher is None else None
    kind = kind_of(failed.error)
    is_retried = kind == TRANSIENT and why_not is None
    now = datetime.now(UTC)
    return {
        "tenant_id": failed.tenant_id,
        "vendor": failed.vendor,
        "event_type": storable_name(failed.event_type),
        "event_id": storable_name(failed.event_id),
        "occurred_at": failed.occurred_at,
        "error_type": class_name(failed.error),
        "error_kind": kind,
        "error_message": storable(mask.text(message_of(failed.error))),
        "error_traceback": storable(mask.text("".join(traceback.format_exception(failed.error)))),
        "payload": payload.dumps(shown) if is_masked else failed.text,
        "sealed": cipher.encrypt(failed.text) if cipher else None,
        "replayable": why_not is None,
        "correlation_id": failed.correlation_id,
        "next_retry_at": now + pause_after(0) if is_retried else None,
        "remediation_notes": f"cannot be retried: {why_not}" if why_not else None,
        "failed_at": now,
    }


def text_of(row: dict[str, Any]) -> str:
    """Return the original body of a row that is replayable.

    Raises:
        EncryptionError: it is encrypted, and no key fits.

    """
    if row["sealed"] is None:
        return str(row["payload"])
    return encryption.required_cipher().decrypt(row["sealed"])


def value_of(body: str) -> Any:
    """Return the value of a body that was read before."""
    return json.loads(body)
