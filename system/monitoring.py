"""The HTTP server of a worker: `/metrics` and `/health`, in the parent process.

Owns the protocol: unknown paths get 404, methods other than GET and HEAD 405, and a request that
makes no sense 400, after which the server goes on. What is answered is left to `system.metrics`
and `system.health`.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import structlog

from system.errors import EndpointError
from system.health import OK, Health

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
JSON_TYPE = "application/json"
CLIENT_TIMEOUT_S = 5

log = structlog.get_logger("system.monitoring")


@dataclass(frozen=True, kw_only=True)
class Response:
    """What an endpoint answers."""

    status: int
    content_type: str
    body: bytes


Endpoints = Mapping[str, Callable[[], Response]]


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_TIMEOUT_S
    server_version = "system"
    sys_version = ""
    server: Server

    def __getattr__(self, name: str) -> Any:
        # The base class looks for do_<METHOD>, and would answer 501 to one that it does not find.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        endpoint = self.server.endpoints.get(urlsplit(self.path).path)
        if endpoint is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif self.command not in {"GET", "HEAD"}:
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
        else:
            self._send(self._answer_of(endpoint))

    def _answer_of(self, endpoint: Callable[[], Response]) -> Response:
        try:
            return endpoint()
        except Exception:
            log.exception("endpoint broke", path=urlsplit(self.path).path)
            return _json(500, {"error": "internal server error"})

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Cache-Control", "no-store")
        if response.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer with the status alone: the request's own words are not repeated."""
        phrase = HTTPStatus(code).phrase
        with suppress(OSError):
            self._send(_json(code, {"error": phrase.lower()}))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        """Say nothing: a line for every scrape would hide the others."""


class Server(ThreadingHTTPServer):
    """A threaded HTTP server whose troubles are log lines."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str, port: int, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        if ":" in address:
            self.address_family = socket.AF_INET6
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """Bind without the base's name look-up, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log what broke a request; the server goes on."""
        log.warning("request failed", exc_info=True)


def serve(address: str, port: int, endpoints: Endpoints) -> Server:
    """Bind, and serve in a thread.

    Args:
        address: of an interface of this machine.
        port: TCP port.
        endpoints: what answers each path.

    Raises:
        EndpointError: the port is taken or the address is not this machine's.

    """
    try:
        server = Server(address, port, endpoints)
    except OSError as error:
        raise EndpointError(
            f"metrics endpoint: got {error.strerror or error} for address {address} port {port}, "
            "expected a free port; stop what listens there, or set CELERY_METRICS_PORT "
            "(and CELERY_METRICS_ADDR)"
        ) from error
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="monitoring", daemon=True
    ).start()
    return server


def endpoints_of(render_metrics: Callable[[], bytes], health: Health) -> dict[str, Any]:
    """Return the endpoints of a worker."""

    def metrics() -> Response:
        return Response(status=200, content_type=METRICS_TYPE, body=render_metrics())

    def healthy() -> Response:
        answer = health.ask()
        return _json(200 if answer["status"] == OK else 503, answer)

    return {"/metrics": metrics, "/health": healthy}


def _json(status: int, value: object) -> Response:
    return Response(status=status, content_type=JSON_TYPE, body=json.dumps(value).encode() + b"\n")
