"""The HTTP probe: asks an endpoint and keeps what ``curl -v`` would show."""

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

import httpx

from gateproof.probes.recorder import Recorder
from gateproof_evidence.model import Redaction

TIMEOUT_S = 15.0
SENT_LIMIT, ANSWER_LIMIT = 2_000, 20_000
"""Characters of raw bytes, as Python writes them, that a capture shows."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and what came back; status 0 when nothing did."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: str
    error: str
    """Why there is no answer: the exception's class and message; empty when there is one."""
    duration_s: float
    redactions: tuple[Redaction, ...]
    """What had to be taken out of the capture."""

    def json(self) -> Any:
        """Return the body as JSON, or None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class HttpProbe:
    """Asks HTTP endpoints."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def get(self, url: str, *, timeout_s: float = TIMEOUT_S) -> Exchange:
        """Ask with GET; nothing is raised when no answer comes."""
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
        """Ask with any method; redirects are not followed and proxies not used."""
        began = time.monotonic()
        status, answered, body, error = 0, {}, "", ""
        request_headers = dict(headers or {})
        try:
            with httpx.Client(trust_env=False, timeout=timeout_s, verify=_trust()) as client:
                response = client.request(method, url, headers=headers, content=content)
            request_headers = dict(response.request.headers)
            status, answered, body = response.status_code, dict(response.headers), response.text
        except httpx.HTTPError as problem:
            error = f"{type(problem).__name__}: {problem}"
        took = time.monotonic() - began
        text = _as_curl(method, url, request_headers, status, answered, body, error)
        observation = self._recorder.observe(
            "http",
            f"{method} {url} -> {status or error}",
            data={
                "method": method,
                "url": url,
                "status": status,
                "headers": answered,
                "body": body,
                "error": error,
                "duration_s": took,
            },
            text=text,
        )
        return Exchange(
            method=method,
            url=url,
            status=status,
            headers=answered,
            body=body,
            error=error,
            duration_s=took,
            redactions=observation.redactions,
        )

    def raw(self, base_url: str, content: bytes, *, timeout_s: float = 5.0) -> bytes:
        """Send bytes that need be no HTTP, and return what came back before the connection ended.

        Args:
            base_url: whose host and port to connect to.
            content: what to send, as it is.
            timeout_s: how long to wait for more, in seconds.

        """
        place = urlsplit(base_url)
        answer = b""
        try:
            with socket.create_connection(
                (place.hostname or "", place.port or 80), timeout=timeout_s
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
            f"raw {len(content)} bytes to {place.netloc} -> {answered.text[:60]}",
            data=shown,
            text=f"> {shown['sent']}\n< {shown['answered']}\n",
            taken=(*sent.redactions, *answered.redactions),
        )
        return answer


@cache
def _trust() -> ssl.SSLContext:
    """Return whom TLS trusts: reading the authorities takes 20 ms, too long for every request."""
    return httpx.create_ssl_context(trust_env=False)


def _as_curl(
    method: str,
    url: str,
    asked: Mapping[str, str],
    status: int,
    answered: Mapping[str, str],
    body: str,
    error: str,
) -> str:
    place = urlsplit(url)
    lines = [
        f"$ curl -v -X {method} {shlex.quote(url)}",
        f"> {method} {place.path or '/'} HTTP/1.1",
    ]
    lines += [f"> {name}: {value}" for name, value in asked.items()]
    lines.append(">")
    if error:
        return "\n".join([*lines, f"* {error}", ""])
    lines.append(f"< HTTP/1.1 {status}")
    lines += [f"< {name}: {value}" for name, value in answered.items()]
    return "\n".join([*lines, "<", body])
