"""Serve `/metrics` and `/health` over HTTP, in the worker's parent process.

Owns the protocol: unknown paths get 404, methods other than GET and HEAD 405, and a malformed
request 4xx. `metrics` and `health` make the answers.

One thread serves all connections, so that a client costs a descriptor and never a thread. A
connection carries one request and has a deadline for each step, even if its client sends a byte now
and then:

1. The request is read, within limits on its size and its total time.
2. The answer is made, within the endpoint's own deadline.
3. The answer is sent; a client that does not receive it in time loses it.
4. The sending side is closed, and input is discarded for a moment: to close at once could destroy
   an answer in transit. Source: RFC 9112, 9.6.

The number of connections is limited. A new one beyond the limit displaces the oldest connection
that waits for its client, so that slow clients do not keep out quick ones.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog

from system.connections.fork import keep_from_children
from system.errors import EndpointError
from system.observability.health import OK, Health

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
JSON_TYPE = "application/json"

REQUEST_DEADLINE_S = 5.0
ANSWER_DEADLINE_S = 5.0
LINGER_S = 1.0
MOST_CONNECTIONS = 128
ACCEPTED_AT_ONCE = 8
"""How many connections are accepted before requests are read again: if all were accepted at once,
a client that has just sent its request would be displaced."""
LONGEST_REQUEST = 16 * 1024
MOST_HEADERS = 100

_LINE_END, _HEAD_END = "\r\n", b"\r\n\r\n"
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_VERSION = re.compile(r"HTTP/(\d)\.\d")

log = structlog.get_logger("system.monitoring")


@dataclass(frozen=True, kw_only=True)
class Response:
    """The answer of an endpoint."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, eq=False)
class _Client:
    """The connection of a client."""

    writer: asyncio.StreamWriter

    def fileno(self) -> int:
        """Return the descriptor of its socket, -1 once it is closed."""
        descriptor: int = self.writer.get_extra_info("socket").fileno()
        return descriptor


Endpoints = Mapping[str, Callable[[], Awaitable[Response]]]


class Server:
    """Serves one listening socket, in one thread."""

    def __init__(self, listening: socket.socket, endpoints: Endpoints) -> None:
        self._listening = keep_from_children(listening)
        self._endpoints = endpoints
        self._open: dict[asyncio.Task[None], _Client] = {}
        self._waiting: dict[asyncio.Task[None], None] = {}
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="monitoring", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The TCP port of the server."""
        return int(self._listening.getsockname()[1])

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._open)

    def close(self) -> None:
        """Close every connection and the port."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._accept, sock=self._listening, limit=LONGEST_REQUEST, backlog=ACCEPTED_AT_ONCE
        )
        self._listening.listen(MOST_CONNECTIONS)  # (the backlog there is both of these numbers)
        await self._over.wait()
        server.close()
        for task in tuple(self._open):
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end, whatever the client does, and release it."""
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = keep_from_children(_Client(writer))
        self._waiting[task] = None
        if len(self._open) > MOST_CONNECTIONS:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]  # at once: the next connection must not displace it again
            oldest.cancel()
        try:
            await self._converse(task, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # The client left, was too slow, or was displaced.
        except Exception:
            log.exception("connection failed")
        finally:
            self._waiting.pop(task, None)
            del self._open[task]
            writer.transport.abort()

    async def _converse(
        self,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        head = await _read(reader)  # 1
        if head is None:
            return
        self._waiting.pop(task, None)
        answer = await self._answer(head)  # 2
        self._waiting[task] = None
        async with asyncio.timeout(ANSWER_DEADLINE_S):  # 3
            writer.transport.set_write_buffer_limits(0)  # then drained means sent
            writer.write(answer)
            await writer.drain()
        writer.write_eof()  # 4
        async with asyncio.timeout(LINGER_S):
            while await reader.read(LONGEST_REQUEST):
                pass

    async def _answer(self, head: bytes | HTTPStatus) -> bytes:
        """Return the complete answer to a request, or to a malformed one."""
        asked = _parse(head) if isinstance(head, bytes) else head
        if isinstance(asked, HTTPStatus):
            return _message(_refusal(asked))
        method, path = asked
        return _message(await self._respond(method, path), whole=method != "HEAD")

    async def _respond(self, method: str, path: str) -> Response:
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        if method not in {"GET", "HEAD"}:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return await endpoint()
        except Exception:
            log.exception("endpoint failed", path=path)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


def serve(address: str, port: int, endpoints: Endpoints) -> Server:
    """Bind, and serve in a thread.

    Args:
        address: address of an interface of this machine.
        port: TCP port.
        endpoints: path to endpoint.

    Raises:
        EndpointError: the port is in use, or the address is not this machine's.

    """
    listening = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(MOST_CONNECTIONS)
    except OSError as error:
        listening.close()
        raise EndpointError(
            f"metrics endpoint: got {error.strerror or error} for address {address} port {port}, "
            "expected a free port; stop what listens there, or set CELERY_METRICS_PORT "
            "(and CELERY_METRICS_ADDR)"
        ) from error
    return Server(listening, endpoints)


def endpoints_of(render_metrics: Callable[[], bytes], health: Health) -> Endpoints:
    """Return the endpoints of a worker."""
    rendered = _Shared(render_metrics)

    async def metrics() -> Response:
        return Response(status=200, content_type=METRICS_TYPE, body=await rendered.get())

    async def healthy() -> Response:
        answer = await health.ask()
        return _json(200 if answer["status"] == OK else 503, answer)

    return {"/metrics": metrics, "/health": healthy}


class _Shared:
    """Calls a blocking function in one thread; requests that wait for a call share its result."""

    def __init__(self, function: Callable[[], bytes]) -> None:
        self._function = function
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None

    async def get(self) -> bytes:
        """Return the result of a call that starts after this one."""
        if self._next is None:
            self._next = asyncio.create_task(self._call())
        return await asyncio.shield(self._next)

    async def _call(self) -> bytes:
        async with self._turn:
            self._next = None
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._function)


async def _read(reader: asyncio.StreamReader) -> bytes | HTTPStatus | None:
    """Return the head of a request, a status to refuse it with, or None if nothing arrived."""
    try:
        async with asyncio.timeout(REQUEST_DEADLINE_S):
            return await reader.readuntil(_HEAD_END)
    except TimeoutError:
        return HTTPStatus.REQUEST_TIMEOUT
    except asyncio.LimitOverrunError:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    except asyncio.IncompleteReadError as error:
        return HTTPStatus.BAD_REQUEST if error.partial else None


def _parse(head: bytes) -> tuple[str, str] | HTTPStatus:
    """Return the method and the path of a request, or a status to refuse it with."""
    line, *headers = head.removesuffix(_HEAD_END).decode("latin-1").split(_LINE_END)
    method, _, rest = line.partition(" ")
    target, _, named = rest.partition(" ")
    version = _VERSION.fullmatch(named)
    if not (_METHOD.fullmatch(method) and target and version):
        return HTTPStatus.BAD_REQUEST
    if version[1] != "1":
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    if len(headers) > MOST_HEADERS:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    try:
        return method, urlsplit(target).path
    except ValueError:
        return HTTPStatus.BAD_REQUEST


def _message(response: Response, *, whole: bool = True) -> bytes:
    """Return a response as bytes, with its body or, for HEAD, without."""
    status = HTTPStatus(response.status)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Server: system",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = _LINE_END.join(lines).encode("latin-1") + _HEAD_END
    return head + response.body if whole else head


def _refusal(status: HTTPStatus) -> Response:
    """Return an error response; it repeats nothing of the request."""
    return _json(status, {"error": status.phrase.lower()})


def _json(status: int, value: object) -> Response:
    return Response(status=status, content_type=JSON_TYPE, body=json.dumps(value).encode() + b"\n")
