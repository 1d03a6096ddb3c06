"""A relay between the probes and the endpoints of workers, for faults of the kind `http`.

It runs in this process, because the harness is the client of the endpoints. Without a rule, and for
requests that its rule leaves alone, it forwards bytes in both directions as they come, malformed
requests and idle connections too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from gateproof.base.errors import HarnessError
from gateproof.probes.http import tls_context

HOST = "127.0.0.1"
LINE_LIMIT, PIECE_SIZE = 1 << 20, 65536
ASK_TIMEOUT_S, START_DEADLINE_S = 30.0, 10.0

OF_THE_CONNECTION = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")
"""Headers that the relay's own client sets."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer of an endpoint."""

    status: int
    content_type: str
    body: bytes


class Rule(Protocol):
    """Decides which requests the relay answers itself, and how."""

    most_connections: int
    """The number of open connections above which new ones are closed; 0 for no limit."""
    ends_with_nonsense: bool
    """Whether the relay accepts no connection after a line that is no request."""

    def takes(self, method: str, path: str) -> bool:
        """Return whether the relay answers a request."""

    def asked_as(self, method: str) -> str:
        """Return the method with which the endpoint is asked."""

    def delay_s(self, answer: Answer) -> float:
        """Return how many seconds the answer comes later."""

    def changed(self, answer: Answer) -> Answer:
        """Return the answer in place of the endpoint's."""


class HttpRelay:
    """Listens on a port of its own in front of each endpoint; `stop` ends it."""

    def __init__(self) -> None:
        self.rule: Rule | None = None
        """The present rule; None forwards everything."""
        self.sample: Answer | None = None
        """An answer of an endpoint behind it, which a fault asked for."""
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def in_front_of(self, url: str) -> str:
        """Listen in front of the endpoints at a base URL, and return the URL to use instead."""
        to = urlsplit(url)
        port = self._run(self._listen(to.hostname or HOST, to.port or 80))
        return f"http://{HOST}:{port}"

    def stop(self) -> None:
        """Close all connections, and stop listening."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_DEADLINE_S)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_DEADLINE_S)
        except (OSError, TimeoutError) as error:
            raise HarnessError(
                f"relay of HTTP: got {error!r}, expected a free port on {HOST}"
            ) from error

    async def _listen(self, host: str, port: int) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            self._open.add(writer)
            with suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
                await self._serve(reader, writer, host, port)
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0, limit=LINE_LIMIT)
        self._servers.append(server)
        found: int = server.sockets[0].getsockname()[1]
        return found

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
    ) -> None:
        rule = self.rule
        if rule and rule.most_connections and len(self._open) > rule.most_connections:
            return
        from_endpoint, to_endpoint = await asyncio.open_connection(host, port)
        back = asyncio.create_task(_forward(from_endpoint, writer))
        line = asyncio.create_task(_first_line(reader))
        try:
            await asyncio.wait({back, line}, return_when=asyncio.FIRST_COMPLETED)
            if not line.done():
                return
            words = line.result().split()
            is_request = len(words) == 3 and words[2].startswith(b"HTTP/")
            if rule and rule.ends_with_nonsense and line.result() and not is_request:
                for server in self._servers:
                    server.close()
            if rule and is_request and rule.takes(words[0].decode(), words[1].decode()):
                back.cancel()
                headers, body = await _rest_of_request(reader)
                url = f"http://{host}:{port}"
                await self._answer(rule, words, writer, url, headers=headers, body=body)
                return
            to_endpoint.write(line.result())
            there = asyncio.create_task(_forward(reader, to_endpoint))
            await back
            there.cancel()
        finally:
            back.cancel()
            line.cancel()
            to_endpoint.close()

    async def _answer(
        self,
        rule: Rule,
        words: list[bytes],
        writer: asyncio.StreamWriter,
        url: str,
        *,
        headers: list[tuple[str, str]],
        body: bytes,
    ) -> None:
        """Ask the endpoint, and answer in its place; without its answer, close the connection."""
        import httpx

        method, path = words[0].decode(), words[1].decode()
        async with httpx.AsyncClient(
            trust_env=False, timeout=ASK_TIMEOUT_S, verify=tls_context()
        ) as client:
            try:
                response = await client.request(
                    rule.asked_as(method), url + path, headers=headers, content=body
                )
            except httpx.HTTPError:
                return
        answer = Answer(
            status=response.status_code,
            content_type=response.headers.get("content-type", ""),
            body=response.content,
        )
        await asyncio.sleep(rule.delay_s(answer))
        writer.write(rendered(rule.changed(answer)))
        await writer.drain()


def rendered(answer: Answer) -> bytes:
    """Return the bytes of an answer."""
    head = (
        f"HTTP/1.1 {answer.status} Answer\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + answer.body


async def _rest_of_request(reader: asyncio.StreamReader) -> tuple[list[tuple[str, str]], bytes]:
    """Return the headers of a request that say what it asks for, and its body."""
    headers: list[tuple[str, str]] = []
    length = 0
    while line := (await _first_line(reader)).strip():
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "content-length" and value.strip().isdigit():
            length = int(value)
        if name.lower() not in OF_THE_CONNECTION:
            headers.append((name, value.strip()))
    return headers, await reader.readexactly(length) if length else b""


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    """Return the first line with its end, or all bytes if there is none."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await reader.read(error.consumed)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE_SIZE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
