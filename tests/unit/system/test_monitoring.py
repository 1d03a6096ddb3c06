"""The HTTP server: its protocol, and what does not bring it down."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from system.errors import EndpointError
from system.monitoring import Response, Server, serve


def broken() -> Response:
    """Fail while answering."""
    raise RuntimeError("endpoint broke")


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve one endpoint that answers and one that breaks, on a port of the system's choice."""
    page = Response(status=200, content_type="text/plain", body=b"hello\n")
    made = serve("127.0.0.1", 0, {"/page": lambda: page, "/broken": broken})
    yield made
    made.shutdown()
    made.server_close()


def ask(server: Server, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
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
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as client:
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


def test_taken_port_is_refused(server: Server) -> None:
    """A port that is taken is refused, with address, port and what to do."""
    with pytest.raises(
        EndpointError, match=rf"address 127.0.0.1 port {server.server_port}.*expect"
    ):
        serve("127.0.0.1", server.server_port, {})


def test_foreign_address_is_refused() -> None:
    """An address that is not this machine's is refused in the same way."""
    with pytest.raises(EndpointError, match=r"address 192\.0\.2\.1 port 9540.*CELERY_METRICS_ADDR"):
        serve("192.0.2.1", 9540, {})
