"""Serve in one process of the service: make the app with its connections, and run the server.

Importing this module imports all that a process needs, and opens no connection: the parent imports
it before it forks, so that its processes share that memory and start at once.
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from system import settings
from system.api.application import Parts, make_app
from system.api.metrics import EventMetrics
from system.api.processes.protocol import Protocol
from system.api.receiving import Receiver
from system.api.vendors import vendors_with
from system.app import app
from system.connections.database import pooled_engine
from system.ingestion.contract import contract_of
from system.observability.health import Health, checks_of

GRACE_S = 6

log = structlog.get_logger("system.api")


def serve(
    chosen: settings.Api,
    connections: settings.Connections,
    folder: Path,
    listening: socket.socket,
    place: int,
) -> None:
    """Serve until a signal to stop.

    Args:
        chosen: the settings.
        connections: the URLs.
        folder: of the counts of all processes.
        listening: the socket that all processes share.
        place: the number of this process; its successor has the same.

    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # (this package has lines of its own)
    config = uvicorn.Config(
        _app(chosen, connections, folder, place),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=32 * 1024,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _app(
    chosen: settings.Api, connections: settings.Connections, folder: Path, place: int
) -> ASGIApp:
    name = f"api-{place}"
    vendors = vendors_with(chosen.certificates)
    metrics = EventMetrics(folder, lambda: name, vendors=vendors, tenant_label=chosen.tenant_label)
    for vendor in vendors:
        contract_of(vendor)  # (one that is missing must end the process, and not a request)
    receiver = Receiver(
        app=app,
        engine=pooled_engine(
            connections.database_url, "system-api", size=chosen.threads, wait_s=chosen.deadline_s
        ),
        secrets=chosen.secrets,
        vendors=vendors,
        metrics=metrics,
    )
    checks = checks_of(connections, chosen.health_deadline_s)
    return make_app(
        Parts(
            receiver=receiver,
            health=Health(checks, chosen.health_deadline_s),
            metrics=metrics,
            threads=chosen.threads,
            deadline_s=chosen.deadline_s,
            started=lambda: log.info("api ready", place=place, port=chosen.port),
            stopped=lambda: log.info("api process stopped", place=place),
        )
    )
