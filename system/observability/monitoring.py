"""The HTTP server of a worker: `/metrics` and `/health`, in the parent process.

Owns the protocol: unknown paths get 404, methods other than GET and HEAD 405, a request that makes
no sense 4xx, after which the server goes on. What is answered is left to `system.metrics` and
`system.health`.

One thread holds every connection, so that a client costs a descriptor and never a thread. Each
connection carries one request and has a deadline for every step of it, whether its client sends a
byte now and then or none:

1. The request is read; there are limits on its size and on the time that it may take in all.
2. The answer is made, within the endpoint's own deadline.
3. The answer is sent; a client that does not take it in time loses it.
4. The sending side is closed, and what still comes is thrown away for a moment: to close at once
   would take back an answer that is on its way. Source: RFC 9112, 9.6.

Connections are limited in number. One too many displaces the oldest of those whose client is being
waited for, so that whoever asks at once is answered, however many others there are that do not.
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
MET_AT_ONCE = 8
"""How many newcomers are let in before it is looked again at who has asked: were it all of a rush,
who asked just before would be displaced unheard."""
LONGEST_REQUEST = 16 * 1024
MOST_HEADERS = 100

_LINE_END, _HEAD_END = "\r\n", b"\r\n\r\n"
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_VERSION = re.compile(r"HTTP/(\d)\.\d")

log = structlog.get_logger("system.monitoring")


@dataclass(frozen=True, kw_only=True)
class Response:
    """What an endpoint answers."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, eq=False)
class _Client:
    """One client's connection."""

    writer: asyncio.StreamWriter

    def fileno(self) -> int:
        """Return the descriptor of its socket, -1 once that is closed."""
        descriptor: int = self.writer.get_extra_info("socket").fileno()
        return descriptor


Endpoints = Mapping[str, Callable[[], Awaitable[Response]]]


class Server:
    """Answers on one socket, in one thread."""

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
        """The TCP port that it listens on."""
        return int(self._listening.getsockname()[1])

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._open)

    def close(self) -> None:
        """End every connection and give the port back."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._meet, sock=self._listening, limit=LONGEST_REQUEST, backlog=MET_AT_ONCE
        )
        self._listening.listen(MOST_CONNECTIONS)  # (the backlog there is both of these numbers)
        await self._over.wait()
        server.close()
        for task in tuple(self._open):
            task.cancel()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end, whatever the client does; nothing of it is left."""
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = keep_from_children(_Client(writer))
        self._waiting[task] = None
        if len(self._open) > MOST_CONNECTIONS:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]  # now: the next newcomer must not find it once more
            oldest.cancel()
        try:
            await self._converse(task, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # The client is gone or too slow, or another one was let in for it.
        except Exception:
            log.exception("connection broke")
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
            writer.transport.set_write_buffer_limits(0)  # to be drained is to be sent
            writer.write(answer)
            await writer.drain()
        writer.write_eof()  # 4
        async with asyncio.timeout(LINGER_S):
            while await reader.read(LONGEST_REQUEST):
                pass

    async def _answer(self, head: bytes | HTTPStatus) -> bytes:
        """Return the whole answer to a request, or to what was sent in place of one."""
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
            log.exception("endpoint broke", path=path)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


def serve(address: str, port: int, endpoints: Endpoints) -> Server:
    """Bind, and serve in a thread.

    Args:
        address: of an interface of this machine.
        port: TCP port.
        endpoints: what answers each path.

    Raises:
        EndpointError: the port is taken or the address is not this machine's.

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
    """Calls what may block, in one thread; all who ask before a call begins share what it gives."""

    def __init__(self, function: Callable[[], bytes]) -> None:
        self._function = function
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None

    async def get(self) -> bytes:
        """Return what a call gives that had not begun when this was asked."""
        if self._next is None:
            self._next = asyncio.create_task(self._call())
        return await asyncio.shield(self._next)

    async def _call(self) -> bytes:
        async with self._turn:
            self._next = None
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._function)


async def _read(reader: asyncio.StreamReader) -> bytes | HTTPStatus | None:
    """Return a request, without its body; or how to refuse what came; None where nothing came."""
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
    """Return the method and the path of a request, or how to refuse it."""
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
    """Return a response as it is sent, with its body or as HEAD asks for it."""
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
    """Return the status alone: the request's own words are not repeated."""
    return _json(status, {"error": status.phrase.lower()})


def _json(status: int, value: object) -> Response:
    return Response(status=status, content_type=JSON_TYPE, body=json.dumps(value).encode() + b"\n")
