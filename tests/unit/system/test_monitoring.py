"""The HTTP server: its protocol, and faults that it survives."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from gateproof.base.wait import wait_until
from system.errors import EndpointError
from system.observability import monitoring
from system.observability.health import Health
from system.observability.monitoring import MOST_CONNECTIONS, Response, Server, endpoints_of, serve

GET = b"GET /page HTTP/1.1\r\n\r\n"
LARGE = bytes(16 * 2**20)
RESET = struct.pack("ii", 1, 0)


async def page() -> Response:
    """Return a short page."""
    return Response(status=200, content_type="text/plain", body=b"hello\n")


async def large() -> Response:
    """Return a page that is larger than the socket buffers."""
    return Response(status=200, content_type="text/plain", body=LARGE)


async def broken() -> Response:
    """Raise an error instead of a response."""
    raise RuntimeError("endpoint broke")


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve a short page, a large page and a broken endpoint on a free port."""
    made = serve("127.0.0.1", 0, {"/page": page, "/large": large, "/broken": broken})
    yield made
    made.close()


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the deadlines."""
    for name in ("REQUEST_DEADLINE_S", "ANSWER_DEADLINE_S", "LINGER_S"):
        monkeypatch.setattr(monitoring, name, 0.4)


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., socket.socket]]:
    """Connect to that server, and close the connections after the test."""
    with ExitStack() as stack:

        def made(sent: bytes = b"") -> socket.socket:
            address = ("127.0.0.1", server.port)
            client = stack.enter_context(socket.create_connection(address, timeout=10))
            client.sendall(sent)
            return client

        yield made


def ask(server: Server, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request, and return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/page", "/page?a=b"])
def test_get_answers(server: Server, path: str) -> None:
    """GET returns the endpoint's body, with or without a query."""
    status, headers, body = ask(server, "GET", path)
    assert (status, body) == (200, b"hello\n")
    assert headers["Content-Type"] == "text/plain"
    assert headers["Server"].strip() == "system"


def test_head_answers_without_a_body(server: Server) -> None:
    """HEAD returns the same headers and no body."""
    status, headers, body = ask(server, "HEAD", "/page")
    assert (status, headers["Content-Length"], body) == (200, "6", b"")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/", "/pages", "/page/", "/../page"])
def test_unknown_path_is_404(server: Server, method: str, path: str) -> None:
    """A path without an endpoint is 404."""
    assert ask(server, method, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_method_is_405(server: Server, method: str) -> None:
    """A method other than GET and HEAD is 405, and the response lists both."""
    status, headers, body = ask(server, method, "/page")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(body) == {"error": "method not allowed"}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /page HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /page HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"",
    ],
)
def test_server_survives_bad_requests(server: Server, request_bytes: bytes) -> None:
    """A malformed request gets an error or no response, and the next request is answered."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert b"Traceback" not in answer
    assert ask(server, "GET", "/page")[0] == 200


def test_server_survives_a_broken_endpoint(server: Server) -> None:
    """An endpoint that raises gives 500 without details, and the others keep working."""
    status, _, body = ask(server, "GET", "/broken")
    assert (status, json.loads(body)) == (500, {"error": "internal server error"})
    assert ask(server, "GET", "/page")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /pa", b"nonsense", b"POST /page HTTP/1.1\r\nX: "])
def test_many_slow_clients_block_no_request(
    server: Server, connect: Callable[..., socket.socket], sent: bytes
) -> None:
    """More slow clients than allowed connections block no request and start no thread."""
    assert ask(server, "GET", "/page")[0] == 200
    threads = set(threading.enumerate())
    clients = [connect(sent) for _ in range(3 * MOST_CONNECTIONS)]
    for _ in range(5):
        assert ask(server, "GET", "/page")[0] == 200
        assert server.connections <= MOST_CONNECTIONS + 1
        assert set(threading.enumerate()) <= threads
    assert len(clients) == 3 * MOST_CONNECTIONS


@pytest.mark.usefixtures("short_deadlines")
def test_client_that_sends_slowly_is_disconnected(
    server: Server, connect: Callable[..., socket.socket]
) -> None:
    """Single bytes do not extend the deadline: it covers the whole request."""
    began = time.monotonic()
    client = connect(b"GET /page HTTP/1.1\r\n")
    client.settimeout(0.05)
    answer = b""
    while not answer and time.monotonic() - began < 10:
        with suppress(TimeoutError):
            answer = client.recv(100)
            break
        client.sendall(b"X")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began >= 0.4
    assert wait_until(lambda: server.connections == 0, deadline_s=10)


@pytest.mark.usefixtures("short_deadlines")
def test_client_that_does_not_read_is_disconnected(
    server: Server, connect: Callable[..., socket.socket]
) -> None:
    """A client that does not read its response loses the connection at the deadline."""
    client = connect(b"GET /large HTTP/1.1\r\n\r\n")
    assert wait_until(lambda: server.connections == 1, deadline_s=10)
    assert wait_until(lambda: server.connections == 0, deadline_s=10)
    taken = 0
    with suppress(ConnectionResetError):
        while piece := client.recv(2**20):
            taken += len(piece)
    assert taken < len(LARGE)


@pytest.mark.parametrize("path", [b"/page", b"/large", b"/broken", b"/nothing"])
def test_early_disconnects_leave_nothing(
    server: Server, connect: Callable[..., socket.socket], path: bytes
) -> None:
    """Clients that disconnect during a request or a response leave no connection or thread."""
    assert ask(server, "GET", "/page")[0] == 200
    threads = set(threading.enumerate())
    for number in range(20):
        client = connect((b"GET " + path + b" HTTP/1.1\r\n\r\n")[: None if number % 2 else -3])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
    assert ask(server, "GET", "/page")[0] == 200
    assert wait_until(lambda: server.connections == 0, deadline_s=10)
    assert set(threading.enumerate()) <= threads


def test_parallel_requests_are_all_answered(server: Server) -> None:
    """Concurrent requests each get the complete response."""
    with ThreadPoolExecutor(max_workers=32) as clients:
        answers = list(clients.map(lambda _: ask(server, "GET", "/page"), range(300)))
    assert {(status, body) for status, _, body in answers} == {(200, b"hello\n")}


def test_concurrent_scrapes_share_renderings() -> None:
    """Concurrent scrapes share renderings, and none gets one that began before its request."""
    begun: list[float] = []

    def render() -> bytes:
        begun.append(time.monotonic())
        assert threading.current_thread().name.startswith("metrics")
        time.sleep(0.3)  # The extra time while a database hangs.
        return f"{begun[-1]}".encode()

    server = serve("127.0.0.1", 0, endpoints_of(render, Health((), 1.0)))

    def scrape(_: int) -> tuple[float, float]:
        asked = time.monotonic()
        answer = ask(server, "GET", "/metrics")
        assert answer[0] == 200
        return asked, float(answer[2])

    try:
        with ThreadPoolExecutor(max_workers=32) as clients:
            answers = list(clients.map(scrape, range(96)))
    finally:
        server.close()
    assert all(rendered >= asked for asked, rendered in answers)
    assert len(begun) < len(answers) / 3


def test_failed_rendering_is_retried() -> None:
    """A failed rendering is an error for the waiting request; the next request renders again."""
    counts = [b"", b"counts\n"]

    def render() -> bytes:
        if not (found := counts.pop(0)):
            raise RuntimeError("no files")
        return found

    server = serve("127.0.0.1", 0, endpoints_of(render, Health((), 1.0)))
    try:
        assert [ask(server, "GET", "/metrics")[0] for _ in range(2)] == [500, 200]
    finally:
        server.close()


def test_pending_request_is_not_displaced() -> None:
    """A client that waits for its response stays connected; the oldest slow client is dropped."""
    free = threading.Event()

    async def waiting() -> Response:
        await asyncio.to_thread(free.wait, 20)
        return await page()

    server = serve("127.0.0.1", 0, {"/waiting": waiting})
    try:
        with ThreadPoolExecutor() as clients, ExitStack() as stack:
            asked = clients.submit(ask, server, "GET", "/waiting")
            assert wait_until(lambda: server.connections == 1, deadline_s=10)
            address = ("127.0.0.1", server.port)
            slow = [
                stack.enter_context(socket.create_connection(address, timeout=10))
                for _ in range(MOST_CONNECTIONS)
            ]
            assert slow[0].recv(1) == b""
            free.set()
            assert asked.result(20)[0] == 200
    finally:
        free.set()
        server.close()


def test_complete_request_is_not_displaced_by_a_rush() -> None:
    """A complete request is answered, though more clients than allowed connect right after it."""
    rush = 3 * MOST_CONNECTIONS
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2 * rush))

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(listening.getsockname()))

        first = connect()
        first.sendall(GET)
        for _ in range(rush):
            connect()
        server = Server(listening, {"/page": page})  # (all of them are already waiting)
        stack.callback(server.close)
        first.settimeout(10)
        assert first.recv(100).startswith(b"HTTP/1.1 200 ")
        assert ask(server, "GET", "/page")[0] == 200  # (accepted after all of them)


def test_closing_the_server_closes_its_connections() -> None:
    """Closing the server closes its open connections at once and frees the port."""
    server = serve("127.0.0.1", 0, {"/page": page})
    port = server.port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        assert wait_until(lambda: server.connections == 1, deadline_s=10)
        server.close()
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
    with socket.create_server(("127.0.0.1", port)) as free:
        assert free.getsockname()[1] == port


def test_taken_port_is_refused(server: Server) -> None:
    """A port in use is refused, and the message has address, port and remedy."""
    with pytest.raises(EndpointError, match=rf"address 127.0.0.1 port {server.port}.*expect"):
        serve("127.0.0.1", server.port, {})


def test_foreign_address_is_refused() -> None:
    """An address of another machine is refused in the same way."""
    with pytest.raises(EndpointError, match=r"address 192\.0\.2\.1 port 9540.*CELERY_METRICS_ADDR"):
        serve("192.0.2.1", 9540, {})
