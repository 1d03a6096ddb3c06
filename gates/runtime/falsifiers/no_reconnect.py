"""The worker gives up when it loses its broker."""

from __future__ import annotations

from types import ModuleType


def give_up(app: ModuleType) -> None:
    """Neither reconnect nor wait."""
    app.app.conf.broker_connection_retry = False
    app.app.conf.broker_connection_retry_on_startup = False


CHANGES = {"system.app": give_up}
