"""The HTTP server: its protocol, and what does not bring it down."""

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
MUCH = bytes(16 * 2**20)
RESET = struct.pack("ii", 1, 0)


async def page() -> Response:
    """Answer."""
    return Response(status=200, content_type="text/plain", body=b"hello\n")


async def large() -> Response:
    """Answer with more than any buffer on the way takes."""
    return Response(status=200, content_type="text/plain", body=MUCH)


async def broken() -> Response:
    """Fail while answering."""
    raise RuntimeError("endpoint broke")


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve endpoints that answer, much or little, and one that breaks, on some free port."""
    made = serve("127.0.0.1", 0, {"/page": page, "/large": large, "/broken": broken})
    yield made
    made.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the deadlines."""
    for name in ("REQUEST_DEADLINE_S", "ANSWER_DEADLINE_S", "LINGER_S"):
        monkeypatch.setattr(monitoring, name, 0.4)


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., socket.socket]]:
    """Connect to that server; the connections end with the test."""
    with ExitStack() as stack:

        def made(sent: bytes = b"") -> socket.socket:
            address = ("127.0.0.1", server.port)
            client = stack.enter_context(socket.create_connection(address, timeout=10))
            client.sendall(sent)
            return client

        yield made


def ask(server: Server, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/page", "/page?a=b"])
def test_get_answers(server: Server, path: str) -> None:
    """GET gives the endpoint's body, whatever the query."""
    status, headers, body = ask(server, "GET", path)
    assert (status, body) == (200, b"hello\n")
    assert headers["Content-Type"] == "text/plain"
    assert headers["Server"].strip() == "system"


def test_head_answers_without_a_body(server: Server) -> None:
    """HEAD gives the same headers and no body."""
    status, headers, body = ask(server, "HEAD", "/page")
    assert (status, headers["Content-Length"], body) == (200, "6", b"")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/", "/pages", "/page/", "/../page"])
def test_unknown_path_is_404(server: Server, method: str, path: str) -> None:
    """A path that is no endpoint is not found."""
    assert ask(server, method, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_method_is_405(server: Server, method: str) -> None:
    """A method other than GET and HEAD is not allowed, and the answer says which are."""
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
    """A request that makes no sense gets an error or nothing, and the next one is answered."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert b"Traceback" not in answer
    assert ask(server, "GET", "/page")[0] == 200


def test_server_survives_a_broken_endpoint(server: Server) -> None:
    """An endpoint that breaks answers 500 without saying why, and the others go on."""
    status, _, body = ask(server, "GET", "/broken")
    assert (status, json.loads(body)) == (500, {"error": "internal server error"})
    assert ask(server, "GET", "/page")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /pa", b"nonsense", b"POST /page HTTP/1.1\r\nX: "])
def test_many_slow_clients_keep_nobody_out(
    server: Server, connect: Callable[..., socket.socket], sent: bytes
) -> None:
    """With more slow clients than connections a request is answered, and no thread is started."""
    assert ask(server, "GET", "/page")[0] == 200
    threads = threading.active_count()
    clients = [connect(sent) for _ in range(3 * MOST_CONNECTIONS)]
    for _ in range(5):
        assert ask(server, "GET", "/page")[0] == 200
        assert server.connections <= MOST_CONNECTIONS + 1
        assert threading.active_count() == threads
    assert len(clients) == 3 * MOST_CONNECTIONS


@pytest.mark.usefixtures("hurried")
def test_client_that_trickles_is_cut_off(
    server: Server, connect: Callable[..., socket.socket]
) -> None:
    """A byte now and then wins no time: the whole request has one deadline."""
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


@pytest.mark.usefixtures("hurried")
def test_client_that_takes_no_answer_is_cut_off(
    server: Server, connect: Callable[..., socket.socket]
) -> None:
    """One that asks and does not read loses its answer, and the connection."""
    client = connect(b"GET /large HTTP/1.1\r\n\r\n")
    assert wait_until(lambda: server.connections == 1, deadline_s=10)
    assert wait_until(lambda: server.connections == 0, deadline_s=10)
    taken = 0
    with suppress(ConnectionResetError):
        while piece := client.recv(2**20):
            taken += len(piece)
    assert taken < len(MUCH)


@pytest.mark.parametrize("path", [b"/page", b"/large", b"/broken", b"/nothing"])
def test_early_disconnects_leave_nothing(
    server: Server, connect: Callable[..., socket.socket], path: bytes
) -> None:
    """Clients that go away, in mid-request or before the answer, leave no connection or thread."""
    assert ask(server, "GET", "/page")[0] == 200
    threads = threading.active_count()
    for number in range(20):
        client = connect((b"GET " + path + b" HTTP/1.1\r\n\r\n")[: None if number % 2 else -3])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
    assert ask(server, "GET", "/page")[0] == 200
    assert wait_until(lambda: server.connections == 0, deadline_s=10)
    assert threading.active_count() == threads


def test_parallel_requests_are_all_answered(server: Server) -> None:
    """Many that ask at once each get the whole answer."""
    with ThreadPoolExecutor(max_workers=32) as clients:
        answers = list(clients.map(lambda _: ask(server, "GET", "/page"), range(300)))
    assert {(status, body) for status, _, body in answers} == {(200, b"hello\n")}


def test_scrapes_at_once_share_one_rendering() -> None:
    """Many that scrape at once wait for two renderings at most, and none gets an older one."""
    begun: list[float] = []

    def render() -> bytes:
        begun.append(time.monotonic())
        assert threading.current_thread().name.startswith("metrics")
        time.sleep(0.3)  # What a database that hangs adds to it.
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


def test_rendering_that_breaks_is_tried_anew() -> None:
    """An error is told to those who waited for it, and not to the next."""
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


def test_request_in_the_making_is_not_displaced() -> None:
    """Whoever waits for an answer keeps its place; of the slow ones the oldest loses it."""
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


def test_request_that_is_there_is_not_displaced_by_a_rush() -> None:
    """Who has asked is answered, though more clients than there are places connect right after."""
    rush = 3 * MOST_CONNECTIONS
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2 * rush))

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(listening.getsockname()))

        first = connect()
        first.sendall(GET)
        for _ in range(rush):
            connect()
        server = Server(listening, {"/page": page})  # finds them all waiting
        stack.callback(server.close)
        first.settimeout(10)
        assert first.recv(100).startswith(b"HTTP/1.1 200 ")
        assert ask(server, "GET", "/page")[0] == 200  # (behind them all: they are met by then)


def test_end_of_the_server_ends_its_connections() -> None:
    """Closing it ends what is open, at once, and frees the port."""
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
    """A port that is taken is refused, with address, port and what to do."""
    with pytest.raises(EndpointError, match=rf"address 127.0.0.1 port {server.port}.*expect"):
        serve("127.0.0.1", server.port, {})


def test_foreign_address_is_refused() -> None:
    """An address that is not this machine's is refused in the same way."""
    with pytest.raises(EndpointError, match=r"address 192\.0\.2\.1 port 9540.*CELERY_METRICS_ADDR"):
        serve("192.0.2.1", 9540, {})
