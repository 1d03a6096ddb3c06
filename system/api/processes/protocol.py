"""Bound the time that a client may take for the head of a request, and answer malformed ones.

uvicorn waits for the rest of a head as long as the connection stays open. Here a connection is
closed that does not complete a head in time, however slowly its bytes arrive. The limit of a head's
size is uvicorn's own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from system.api import problem
from system.api.delivery import CORRELATION_ID, correlation_id_of


class Protocol(H11Protocol):
    """One connection."""

    head_s: float
    """Seconds that a client may take for the head of a request; `bounded` sets it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start to wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Pass data on; wait for the next head after a request, and no longer once it is there."""
        super().data_received(data)
        is_served = self.cycle is not None and not self.cycle.response_complete
        if is_served:
            self._stop_waiting()
        elif self._head is None:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request with a problem document that quotes nothing of it."""
        correlation_id = correlation_id_of(None)
        body = problem.document(400, detail=msg, correlation_id=correlation_id)
        headers = [
            (b"content-type", problem.PROBLEM_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (CORRELATION_ID.lower().encode(), correlation_id.encode()),
            (b"connection", b"close"),
        ]
        try:
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            pass  # An answer has begun; it cannot be taken back.
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(self.head_s, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def bounded(head_s: float) -> type[Protocol]:
    """Return the protocol of connections whose clients may take so many seconds for a head."""
    return type("BoundedProtocol", (Protocol,), {"head_s": head_s})
