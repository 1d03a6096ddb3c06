"""A request that makes no sense ends the server."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def end_on_bad_request(monitoring: ModuleType) -> None:
    """Close the listening socket instead of answering 400."""

    def send_error(self: Any, code: int, *more: Any) -> None:
        if code == 400:
            self.server.socket.close()
        else:
            refuse(self, code, *more)

    handler = monitoring._Handler  # noqa: SLF001 (the fault is inside)
    refuse, handler.send_error = handler.send_error, send_error


CHANGES = {"system.monitoring": end_on_bad_request}
