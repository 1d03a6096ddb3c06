"""Read a request's body within limits on its size, its time and its form.

A body beyond the limit is refused as soon as its length shows it. What a client still sends is
discarded for a moment, because to close at once could destroy the answer in transit; nothing of it
is kept. Source: RFC 9112, section 9.6.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

LARGEST_BODY = 2**20
DISCARDED_BODY = 8 * 2**20
DISCARD_S = 1.0
JSON_TYPE = "application/json"


class RefusedError(Exception):
    """A body is refused with a status, before anything else is read."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


async def read_body(request: Request, *, deadline_s: float) -> bytes:
    """Return the body of a request.

    Args:
        request: one whose body is not read yet.
        deadline_s: seconds within which the body must be complete.

    Raises:
        RefusedError: its type, its encoding, its size or its pace is refused.

    """
    _demand_json(request)
    stream = request.stream()
    kept = bytearray()
    if _declared(request) <= LARGEST_BODY:
        try:
            async with asyncio.timeout(deadline_s):
                async for chunk in stream:
                    kept += chunk
                    if len(kept) > LARGEST_BODY:
                        break
                else:
                    return bytes(kept)
        except TimeoutError:
            raise RefusedError(
                HTTPStatus.REQUEST_TIMEOUT, f"body: got none complete in {deadline_s:g} s"
            ) from None
    kept.clear()
    await _discard(request)
    raise RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"body: got more than {LARGEST_BODY} bytes, expected fewer",
    )


def _demand_json(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", ""}:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding: got one, expected none"
        )
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if media_type.strip().lower() != JSON_TYPE or charset not in {"", "charset=utf-8"}:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type: got another media type, expected {JSON_TYPE}",
        )


def _declared(request: Request) -> int:
    """Return the declared length; 0 if there is none. The server has refused any other text."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


async def _discard(request: Request) -> None:
    left = DISCARDED_BODY
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DISCARD_S):
            while left > 0:
                message = await request.receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return
