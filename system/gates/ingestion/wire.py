"""Send requests that an HTTP client would not: in chunks, slowly, and hundreds at once.

Each is recorded as one observation, without the bytes that were sent.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from gateproof import Exchange, Stack

NO_ANSWER = 0
"""The status of a request that got no answer."""


def request(
    path: str, headers: Mapping[str, str], body: bytes, *, in_chunks: bool = False
) -> bytes:
    """Return a POST request that asks to close its connection."""
    framing = {"transfer-encoding": "chunked"} if in_chunks else {"content-length": str(len(body))}
    fields = {"host": "gate", "connection": "close", **framing, **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + (_chunks(body) if in_chunks else body)


def send(stack: Stack, url: str, name: str, content: bytes, *, timeout_s: float = 15.0) -> int:
    """Send one request; return its status."""
    answer = b""
    try:
        with socket.create_connection(_address(url), timeout=timeout_s) as connection:
            connection.sendall(content)
            while b"\r\n" not in answer and (part := connection.recv(4096)):
                answer += part
    except OSError as error:
        answer = answer or f"[{type(error).__name__}]".encode()
    status = _status(answer)
    _record(stack, f"{name}: {len(content)} bytes -> {status}", {"status": status})
    return status


def send_slowly(
    stack: Stack, url: str, name: str, *, first: bytes, more: bytes, limit_s: float
) -> float:
    """Send bytes now and then until the connection is closed.

    Args:
        stack: records it.
        url: of the service.
        name: names the request in the record.
        first: sent at once.
        more: sent every tenth of a second after it.
        limit_s: when to give up, in seconds.

    Returns:
        The seconds until the service closed the connection.

    """
    began = time.monotonic()
    answer = b""
    with socket.create_connection(_address(url), timeout=0.1) as connection:
        try:
            connection.sendall(first)
            while time.monotonic() - began < limit_s:
                try:
                    part = connection.recv(4096)
                except TimeoutError:
                    connection.sendall(more)
                    continue
                answer += part
                if not part:
                    break
        except OSError:
            pass  # (the service has closed it)
    lasted_s = time.monotonic() - began
    data = {"status": _status(answer), "duration_s": lasted_s}
    _record(stack, f"slow client, {name}: closed after {lasted_s:.1f} s", data)
    return lasted_s


def send_unfinished(
    stack: Stack,
    url: str,
    path: str,
    headers: Mapping[str, str],
    begin: bytes,
    *,
    timeout_s: float = 15.0,
) -> Exchange:
    """Send a POST request with only the begin of its body; return the answer to it."""
    began = time.monotonic()
    connection = HTTPConnection(*_address(url), timeout=timeout_s)
    status, answered, body, error = NO_ANSWER, {}, "", ""
    try:
        connection.request("POST", path, body=begin, headers=dict(headers))
        answer = connection.getresponse()
        status, answered = answer.status, {name.lower(): one for name, one in answer.getheaders()}
        body = answer.read().decode()
    except (OSError, HTTPException) as problem:
        error = f"{type(problem).__name__}: {problem}"
    finally:
        connection.close()
    duration_s = time.monotonic() - began
    data = {"status": status, "headers": answered, "body": body, "duration_s": duration_s}
    _record(stack, f"POST with an unfinished body -> {status or error}", data)
    return Exchange(
        method="POST",
        url=f"{url}{path}",
        status=status,
        headers=answered,
        body=body,
        error=error,
        duration_s=duration_s,
        redactions=(),
    )


def send_at_once(
    stack: Stack, url: str, requests: Sequence[bytes], *, timeout_s: float
) -> list[int]:
    """Open a connection for each request at once; return the status of each, in order."""

    async def run() -> list[int]:
        async with asyncio.timeout(timeout_s * 2):
            return await asyncio.gather(*(_one(url, one, timeout_s) for one in requests))

    began = time.monotonic()
    statuses = asyncio.run(run())
    data = {
        "statuses": {str(status): count for status, count in sorted(Counter(statuses).items())},
        "duration_s": time.monotonic() - began,
    }
    _record(stack, f"{len(requests)} requests at once -> {data['statuses']}", data)
    return statuses


async def _one(url: str, content: bytes, timeout_s: float) -> int:
    host, port = _address(url)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(content)
            await writer.drain()
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return NO_ANSWER
    return _status(line)


def _chunks(body: bytes, size: int = 65_536) -> bytes:
    parts = (body[place : place + size] for place in range(0, len(body), size))
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts) + b"0\r\n\r\n"


def _status(answer: bytes) -> int:
    words = answer.split(maxsplit=2)
    known = len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    return int(words[1]) if known else NO_ANSWER


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _record(stack: Stack, summary: str, data: Mapping[str, object]) -> None:
    lines = "".join(f"{name}: {value}\n" for name, value in data.items())
    stack.recorder.observe("http", summary, data=data, text=f"{summary}\n{lines}")
