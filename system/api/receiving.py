"""Take one delivery through its steps, in a thread of its process.

The body was read within its limit before (`reading`). Then:

1. The token is resolved to a tenant and its secrets; an unknown token gets a secret that signs
   nothing.
2. The signature is compared, over the bytes that arrived, with each valid secret.
3. Only then an unknown token is answered, and nothing but its status differs from a wrong
   signature.
4. The body is read as JSON. What cannot be read leaves no row: it is no event.
5. Headers and body are checked against the vendor's contract. A signed event that breaks it is a
   permanent dead event.
6. Row and message are stored in one transaction. A transient failure is a dead event that is
   retried; the vendor is asked to deliver again all the same.
7. Only now the event is acknowledged.

While the database is away nothing is kept: the vendor delivers again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from structlog.contextvars import bound_contextvars

from system.api.delivery import Delivery
from system.api.metrics import OTHER, EventMetrics
from system.api.registration import Registration, find
from system.api.vendors.vendor import Vendor
from system.dead_letters.row import class_name
from system.errors import ConfigurationError, IngestionError
from system.ingestion import dead_event
from system.ingestion.body import UnreadableError, read_json
from system.ingestion.contract import contract_of
from system.ingestion.event import Event
from system.ingestion.storing import Stored, store

MOST_DETAIL = 1000

log = structlog.get_logger("system.api")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a delivery ended."""

    status: int
    event_row: str | None = None
    """The id of the event's row, for 200 and 202."""
    detail: str | None = None
    """A hint at what to correct; it quotes nothing that was sent."""


class ContractError(IngestionError):
    """A signed event breaks its vendor's contract."""


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Takes deliveries."""

    app: Any
    """The Celery app that publishes."""
    engine: Engine
    """Connects as `app_ingest`."""
    secrets: Path
    vendors: Mapping[str, Vendor]
    metrics: EventMetrics

    def receive(self, delivery: Delivery) -> Answer:
        """Take one delivery through all steps; return how it ended."""
        began = time.monotonic()
        with bound_contextvars(correlation_id=delivery.correlation_id):
            try:
                return self._receive(delivery)
            finally:
                self.metrics.observe(delivery.vendor, time.monotonic() - began)

    def _receive(self, delivery: Delivery) -> Answer:
        vendor, now = self.vendors[delivery.vendor], datetime.now(UTC)
        try:
            connection, known = self._resolved(delivery)  # 1
        except (DBAPIError, PoolTimeoutError, ConfigurationError) as error:
            return _unavailable(delivery, error)
        with connection:
            matches = [vendor.is_signed(delivery, secret, now) for secret in known.secrets]  # 2
            if known.tenant_id is None:  # 3
                return _refused(delivery, HTTPStatus.NOT_FOUND)
            if not any(matches):
                return _refused(delivery, HTTPStatus.UNAUTHORIZED)
            with bound_contextvars(tenant_id=str(known.tenant_id)):
                try:
                    value = read_json(delivery.raw)  # 4
                except UnreadableError as error:
                    return _refused(delivery, HTTPStatus.BAD_REQUEST, detail=str(error))
                return _Event(
                    self, connection, delivery, known.tenant_id, vendor, value, now
                ).take()

    def _resolved(self, delivery: Delivery) -> tuple[Connection, Registration]:
        """Return a connection with an open transaction, and the registration of the token.

        A connection that the server closed while it was idle shows at its first statement, and is
        replaced once: to test each before its use would cost a delivery two more round trips.
        """
        for may_be_stale in (True, False):
            connection = self.engine.connect()
            try:
                registration = find(
                    connection, self.secrets, vendor=delivery.vendor, token=delivery.token
                )
            except DBAPIError as error:
                connection.close()
                if not (may_be_stale and error.connection_invalidated):
                    raise
            except BaseException:
                connection.close()
                raise
            else:
                return connection, registration
        raise AssertionError("the last attempt returns or raises")


@dataclass(frozen=True)
class _Event:
    """A signed event, in steps 5 to 7."""

    receiver: Receiver
    connection: Connection
    """With an open transaction."""
    delivery: Delivery
    tenant_id: UUID
    vendor: Vendor
    value: Any
    now: datetime

    def take(self) -> Answer:
        """Check and store the event."""
        event = None
        try:
            event = self._checked()  # 5
            stored = self._store(event)  # 6
        except (IngestionError, DBAPIError, BrokerError, PoolTimeoutError) as error:
            return self._failed(event, error)
        return self._acknowledged(event, stored)  # 7

    def _checked(self) -> Event:
        headers = self.delivery.headers
        findings = contract_of(self.delivery.vendor).findings(headers, self.value)
        if findings:
            raise ContractError("; ".join(findings)[:MOST_DETAIL])
        described = self.vendor.describe(headers, self.value, self.now)
        return Event(
            tenant_id=self.tenant_id,
            vendor=self.delivery.vendor,
            event_type=described.event_type,
            event_id=described.event_id,
            occurred_at=described.occurred_at,
            text=self.delivery.raw.decode("utf-8"),
            correlation_id=self.delivery.correlation_id,
        )

    def _store(self, event: Event) -> Stored:
        stored = store(self.receiver.app, self.connection, event)
        self.connection.commit()
        return stored

    def _acknowledged(self, event: Event, stored: Stored) -> Answer:
        self.receiver.metrics.count_stored(
            self.tenant_id, event.vendor, self._label(event.event_type), is_new=stored.is_new
        )
        status = HTTPStatus.ACCEPTED if stored.is_new else HTTPStatus.OK
        log.info(
            "event accepted" if stored.is_new else "event repeated",
            vendor=event.vendor,
            event_type=event.event_type,
            event_id=event.event_id,
            event_row=str(stored.id),
            status=int(status),
        )
        return Answer(status=status, event_row=str(stored.id))

    def _failed(self, event: Event | None, error: Exception) -> Answer:
        """Keep the event as a dead one, if the database answers."""
        if isinstance(error, PoolTimeoutError) or dead_event.is_away(error):
            return _unavailable(self.delivery, error)
        failed = self._described(event, error)
        try:
            self.connection.rollback()
            is_new = dead_event.keep(self.receiver.app, self.connection, failed)
            self.connection.commit()
        except (DBAPIError, BrokerError, PoolTimeoutError) as second:
            return _unavailable(self.delivery, second)
        label, error_type = self._label(failed.event_type), class_name(error)
        if is_new:
            self.receiver.metrics.count_dead(
                self.tenant_id, failed.vendor, label, error_type.rpartition(".")[2]
            )
        log.warning(
            "event not stored",
            vendor=failed.vendor,
            event_type=failed.event_type,
            error=error_type,
            is_new=is_new,
        )
        if dead_event.kind_of(error) == dead_event.TRANSIENT:
            return _unavailable(self.delivery, error)
        detail = str(error) if isinstance(error, IngestionError) else None
        return _refused(self.delivery, HTTPStatus.UNPROCESSABLE_ENTITY, detail=detail)

    def _described(self, event: Event | None, error: Exception) -> dead_event.Failed:
        headers, raw = self.delivery.headers, self.delivery.raw
        found_type = self.vendor.type_of(headers, self.value)
        found_id = self.vendor.id_of(headers, self.value)
        return dead_event.Failed(
            tenant_id=self.tenant_id,
            vendor=self.delivery.vendor,
            event_type=str(found_type) if _is_name(found_type) else dead_event.UNKNOWN,
            event_id=str(found_id) if _is_name(found_id) else dead_event.fallback_id(raw),
            occurred_at=event.occurred_at if event else None,
            text=raw.decode("utf-8"),
            value=self.value,
            correlation_id=self.delivery.correlation_id,
            error=error,
        )

    def _label(self, event_type: str) -> str:
        return event_type if event_type in self.vendor.known_types else OTHER


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255


def _refused(delivery: Delivery, status: HTTPStatus, *, detail: str | None = None) -> Answer:
    log.info("delivery refused", vendor=delivery.vendor, status=int(status))
    return Answer(status=status, detail=detail)


def _unavailable(delivery: Delivery, error: Exception) -> Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    log.warning(
        "delivery not taken", vendor=delivery.vendor, status=int(status), error=class_name(error)
    )
    return Answer(status=status)
