"""The HTTP probe: sends requests and records what ``curl -v`` would show."""

from __future__ import annotations

import json
import shlex
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from gateproof.probes.recorder import Recorder
from gateproof_evidence.model import Redaction

TIMEOUT_S = 15.0
SENT_LIMIT, ANSWER_LIMIT = 2_000, 20_000
"""The maximum length of raw bytes in a capture, in characters of their Python literal."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and its response; status 0 if there was none."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: str
    error: str
    """Class and message of the exception if there was no response; otherwise empty."""
    duration_s: float
    redactions: tuple[Redaction, ...]
    """The redactions in the capture."""

    def json(self) -> Any:
        """Return the parsed body, or None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class HttpProbe:
    """Sends requests to HTTP endpoints."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def get(self, url: str, *, timeout_s: float = TIMEOUT_S) -> Exchange:
        """Send a GET request; raise nothing if there is no response."""
        return self.request("GET", url, timeout_s=timeout_s)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout_s: float = TIMEOUT_S,
    ) -> Exchange:
        """Send a request; do not follow redirects, and use no proxy."""
        import httpx  # with it comes a command-line program, which takes a tenth of a second

        began = time.monotonic()
        status, response_headers, body, error = 0, {}, "", ""
        request_headers = dict(headers or {})
        try:
            with httpx.Client(trust_env=False, timeout=timeout_s, verify=tls_context()) as client:
                response = client.request(method, url, headers=headers, content=content)
            request_headers = dict(response.request.headers)
            status, body = response.status_code, response.text
            response_headers = dict(response.headers)
        except httpx.HTTPError as problem:
            error = f"{type(problem).__name__}: {problem}"
        duration_s = time.monotonic() - began
        text = _as_curl(method, url, request_headers, status, response_headers, body, error)
        observation = self._recorder.observe(
            "http",
            f"{method} {url} -> {status or error}",
            data={
                "method": method,
                "url": url,
                "status": status,
                "headers": response_headers,
                "error": error,
            },
            text=text,
        )
        return Exchange(
            method=method,
            url=url,
            status=status,
            headers=response_headers,
            body=body,
            error=error,
            duration_s=duration_s,
            redactions=observation.redactions,
        )

    def raw(self, base_url: str, content: bytes, *, timeout_s: float = 5.0) -> bytes:
        """Send arbitrary bytes, and return all bytes received until the connection closed.

        Args:
            base_url: the URL with the host and port to connect to.
            content: the bytes to send.
            timeout_s: how long to wait for further bytes, in seconds.

        """
        parts = urlsplit(base_url)
        answer = b""
        try:
            with socket.create_connection(
                (parts.hostname or "", parts.port or 80), timeout=timeout_s
            ) as connection:
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(65536):
                    answer += chunk
        except OSError as error:
            answer += f"\n[{type(error).__name__}]".encode()
        redact = self._recorder.redactor.redact
        sent, answered = redact(repr(content)), redact(repr(answer))
        shown = {"sent": sent.text[:SENT_LIMIT], "answered": answered.text[:ANSWER_LIMIT]}
        self._recorder.observe(
            "http",
            f"raw {len(content)} bytes to {parts.netloc} -> {answered.text[:60]}",
            data=shown,
            text=f"> {shown['sent']}\n< {shown['answered']}\n",
            taken=(*sent.redactions, *answered.redactions),
        )
        return answer


@cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context; reading the certificate authorities takes 20 ms, so it is cached."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


def _as_curl(
    method: str,
    url: str,
    request_headers: Mapping[str, str],
    status: int,
    response_headers: Mapping[str, str],
    body: str,
    error: str,
) -> str:
    parts = urlsplit(url)
    lines = [
        f"$ curl -v -X {method} {shlex.quote(url)}",
        f"> {method} {parts.path or '/'} HTTP/1.1",
    ]
    lines += [f"> {name}: {value}" for name, value in request_headers.items()]
    lines.append(">")
    if error:
        return "\n".join([*lines, f"* {error}", ""])
    lines.append(f"< HTTP/1.1 {status}")
    lines += [f"< {name}: {value}" for name, value in response_headers.items()]
    return "\n".join([*lines, "<", body])
