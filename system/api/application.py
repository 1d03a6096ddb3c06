"""Make the app of one process: its routes, its answers, and its limits.

Owns what is served. `receiving` takes the steps of a delivery, in one of a few threads, each with a
connection. The answer waits no longer than its deadline: a step that ends later changes no answer,
and an event that it stores is found by the vendor's next delivery.

The number of requests at once is limited, so that their bodies fit into memory. A request beyond
the limit waits for a turn, and is refused with 503 when it gets none.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from system.api import problem
from system.api.delivery import CORRELATION_ID, Delivery, correlation_id_of
from system.api.metrics import EventMetrics
from system.api.reading import RefusedError, read_body
from system.api.receiving import Answer, Receiver
from system.observability.health import OK, Health
from system.observability.monitoring import METRICS_TYPE

MOST_REQUESTS = 100
TURN_S = 2.0
RETRY_AFTER_S = 5
NO_TYPE = ""

_STATUS = {HTTPStatus.OK: "duplicate", HTTPStatus.ACCEPTED: "accepted"}
_CLOSED = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})

log = structlog.get_logger("system.api")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of which the app of a process is made."""

    receiver: Receiver
    health: Health
    metrics: EventMetrics
    threads: int
    deadline_s: float
    client_s: float
    """Seconds that a client may take for a body."""
    started: Callable[[], None]
    """Called when the app can serve."""
    stopped: Callable[[], None]
    """Called when it serves no more."""


def make_app(parts: Parts) -> ASGIApp:
    """Return the ASGI app of a process."""
    app = _Application(parts)
    return CorrelationIds(app.routes())


class _Application:
    """Answers requests."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._threads = ThreadPoolExecutor(parts.threads, thread_name_prefix="receive")
        self._rendering = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._turns = asyncio.Semaphore(MOST_REQUESTS)

    def routes(self) -> FastAPI:
        """Return the app with its routes; the contracts have the same operations."""
        app = FastAPI(
            title="Reference system",
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
            redirect_slashes=False,
        )
        app.add_api_route("/health", self._health, methods=["GET"], operation_id="showHealth")
        app.add_api_route("/metrics", self._metrics, methods=["GET"], operation_id="showMetrics")
        for vendor in self._parts.receiver.vendors:
            app.add_api_route(
                f"/webhooks/{vendor}/{{endpoint}}",
                self._webhook(vendor),
                methods=["POST"],
                operation_id=f"receive{vendor.capitalize()}",
                status_code=HTTPStatus.ACCEPTED,
            )
        app.add_exception_handler(HTTPException, _on_http_error)
        app.add_exception_handler(Exception, _on_error)
        return app

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self._parts.started()
        yield
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._parts.stopped()

    async def _health(self) -> Response:
        """Ask the database and the broker."""
        report = await self._parts.health.ask()
        status = HTTPStatus.OK if report["status"] == OK else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(status, report)

    async def _metrics(self) -> Response:
        """Show the counters of all processes of the service."""
        loop = asyncio.get_running_loop()
        content = await loop.run_in_executor(self._rendering, self._parts.metrics.render)
        return Response(content, headers={"content-type": METRICS_TYPE})

    def _webhook(self, vendor: str) -> Callable[..., Any]:
        async def receive(request: Request, endpoint: str) -> Response:
            """Take one event, once."""
            try:
                async with asyncio.timeout(TURN_S):
                    await self._turns.acquire()
            except TimeoutError:
                return _problem(request, HTTPStatus.SERVICE_UNAVAILABLE)
            try:
                return await self._take(request, vendor, endpoint)
            finally:
                self._turns.release()

        return receive

    async def _take(self, request: Request, vendor: str, token: str) -> Response:
        try:
            raw = await read_body(request, deadline_s=self._parts.client_s)
        except RefusedError as error:
            return _problem(request, error.status, detail=error.detail)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # (has no reader)
        delivery = Delivery(
            vendor=vendor,
            token=token,
            headers=_single(request),
            raw=raw,
            correlation_id=request.state.correlation_id,
        )
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, self._parts.receiver.receive, delivery
        )
        try:
            async with asyncio.timeout(self._parts.deadline_s):
                answer = await work
        except TimeoutError:
            log.warning(
                "delivery not taken in time", vendor=vendor, correlation_id=delivery.correlation_id
            )
            return _problem(request, HTTPStatus.SERVICE_UNAVAILABLE)
        return _response(request, answer)


class CorrelationIds:
    """Gives each request an identifier, and each answer the header with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = CORRELATION_ID.lower().encode()
        sent = [value for key, value in scope["headers"] if key == name]
        correlation_id = correlation_id_of(sent[0].decode("latin-1") if len(sent) == 1 else None)
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        # Bound for the server's own lines, too, which follow a defect; a request has its own task.
        bind_contextvars(correlation_id=correlation_id)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (name, correlation_id.encode())]
            await send(message)

        await self._app(scope, receive, answer)


def _single(request: Request) -> Mapping[str, str]:
    """Return the headers that were sent once: of two, readers could choose another one."""
    headers = request.headers
    return {name: headers[name] for name in headers if len(headers.getlist(name)) == 1}


def _response(request: Request, answer: Answer) -> Response:
    if answer.event_row is None:
        return _problem(request, answer.status, detail=answer.detail)
    receipt = {
        "status": _STATUS[HTTPStatus(answer.status)],
        "event_id": answer.event_row,
        "correlation_id": request.state.correlation_id,
    }
    return _json(answer.status, receipt)


def _json(status: int, content: object) -> Response:
    return Response(json.dumps(content), status_code=status, media_type="application/json")


def _problem(
    request: Request,
    status: int,
    *,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    more = {**(headers or {}), **problem.headers_of(status, retry_after_s=RETRY_AFTER_S)}
    if status in _CLOSED:
        more["Connection"] = "close"
    return Response(
        problem.document(
            status, detail=detail, correlation_id=getattr(request.state, "correlation_id", None)
        ),
        status_code=status,
        media_type=problem.PROBLEM_TYPE,
        headers=more,
    )


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Answer what no route takes: an unknown path, another method."""
    assert isinstance(error, HTTPException)
    return _problem(request, error.status_code, headers=error.headers)


async def _on_error(request: Request, _: Exception) -> Response:
    """Answer a defect; the server logs it."""
    return _problem(request, HTTPStatus.INTERNAL_SERVER_ERROR)
