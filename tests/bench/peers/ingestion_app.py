"""Serve the handlers that ingestion is compared with: one that parses, and one that inserts too.

They have the service's routes, processes, server and limits, and take none of its steps.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI, Request, Response
from sqlalchemy import Engine, text

from system import settings
from system.api.processes.protocol import bounded
from system.api.reading import read_body
from system.connections.database import pooled_engine

PARSE, INSERT = "parse", "insert"
_INSERT = text("INSERT INTO bench_events (id, payload) VALUES (:id, CAST(:payload AS jsonb))")


def make_app(kind: str, chosen: settings.Api, url: str) -> FastAPI:
    """Return the app of a process; each makes its own connections."""
    app = FastAPI(docs_url=None, redoc_url=None)
    threads = ThreadPoolExecutor(chosen.threads)
    engine = pooled_engine(url, "bench", size=chosen.threads, wait_s=chosen.deadline_s)

    @app.get("/health")
    async def health() -> Response:
        return Response(b"{}", media_type="application/json")

    @app.post("/webhooks/{vendor}/{endpoint}", status_code=202)
    async def receive(request: Request, vendor: str, endpoint: str) -> Response:  # noqa: ARG001
        raw = await read_body(request, deadline_s=chosen.client_s)
        value = json.loads(raw)
        if kind == INSERT:
            work = asyncio.get_running_loop().run_in_executor(
                threads, _insert, engine, raw.decode()
            )
            async with asyncio.timeout(chosen.deadline_s):
                await work
        receipt = {"status": "accepted", "event_id": value.get("id")}
        return Response(json.dumps(receipt), status_code=202, media_type="application/json")

    return app


def _insert(engine: Engine, payload: str) -> None:
    with engine.begin() as connection:
        connection.execute(_INSERT, {"id": uuid.uuid4(), "payload": payload})


def main() -> None:
    """Serve on a port, in as many forked processes as the service has."""
    kind = sys.argv[1]
    chosen = settings.api_from(os.environ)
    url = settings.connections_from(os.environ).database_url
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((chosen.address, chosen.port))
        listening.listen(1024)
        for _ in range(chosen.processes - 1):
            if os.fork() == 0:
                break
        config = uvicorn.Config(
            make_app(kind, chosen, url),
            http=bounded(chosen.client_s),
            log_config=None,
            access_log=False,
            ws="none",
        )
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
