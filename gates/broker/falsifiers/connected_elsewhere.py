"""The system holds a connection to a service that is not PostgreSQL."""

from __future__ import annotations

import socket
from types import ModuleType


def connect(app: ModuleType) -> None:
    """Connect to a service of this process's own, which stands in for another broker."""
    service = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(service.getsockname())
    vars(app)["elsewhere"] = (service, client, service.accept())


CHANGES = {"system.app": connect}
