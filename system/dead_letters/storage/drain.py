"""Write spooled entries into the table, from a thread of the worker's parent."""

from __future__ import annotations

import os
import threading
from typing import Any

import structlog
from celery import signals
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from system import settings
from system.connections import database
from system.dead_letters.row import class_name
from system.dead_letters.storage import table
from system.dead_letters.storage.entry import from_record
from system.dead_letters.storage.keeper import spool
from system.errors import ConfigurationError, SpoolError

INTERVAL_S = 2.0

log = structlog.get_logger("system.dead_letters")


def connect() -> None:
    """Start draining when the worker is ready; a second call changes nothing."""
    signals.worker_ready.connect(
        _start_draining, weak=False, dispatch_uid="system.dead_letters.start_draining"
    )


def drain() -> int:
    """Write all spooled entries, the oldest first, and return how many.

    Raises:
        SQLAlchemyError: the database still refuses the oldest.
        OSError: the disk cannot be read.

    """
    waiting = spool()
    if not waiting.count():
        return 0
    # A separate engine: a child that is forked while this thread runs must not inherit a locked
    # pool.
    engine = create_engine(
        settings.connections_from(os.environ).database_url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args=database.connect_args("system-spool"),
    )

    def write(record: dict[str, Any]) -> None:
        try:
            with engine.begin() as connection:
                table.put(connection, from_record(record))
        except (DBAPIError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, DBAPIError) and not table.is_refused(error):
                raise
            # No traceback: it can quote the row.
            log.error("spooled dead-letter row refused", error=class_name(error))  # noqa: TRY400
            raise SpoolError("spooled dead-letter row: got one that the table refuses") from None

    return waiting.drain(write)


def _start_draining(**_: object) -> None:
    threading.Thread(target=_keep_draining, name="dead-letter-spool", daemon=True).start()


def _keep_draining() -> None:
    """Drain in a loop; log once when that starts to fail, and each time that rows are written."""
    failing = False
    pause = threading.Event()
    while True:
        try:
            written = drain()
        except (SQLAlchemyError, OSError, ValueError, ConfigurationError) as error:
            if not failing:
                log.warning("spool not drained", error=class_name(error))
            failing = True
        else:
            failing = False
            if written:
                log.info("spool drained", rows=written)
        pause.wait(INTERVAL_S)
