"""The shop's web server: it takes orders, each number once, and reports its health."""

from __future__ import annotations

import json
import os
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg2

ORDER = {"type": "object", "required": ["state"], "properties": {"state": {"enum": ["new", "old"]}}}
ANSWER = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}
CONTRACT = {
    "openapi": "3.0.3",
    "info": {"title": "Shop", "version": "1"},
    "paths": {
        "/orders": {
            "post": {
                "responses": {
                    "201": {"description": "new", **ANSWER},
                    "409": {"description": "old", **ANSWER},
                    "503": {"description": "later"},
                }
            }
        }
    },
    "components": {"schemas": {"Order": ORDER}},
}

WORKERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = %s"
)


def query(statement: str, *values: str) -> list[tuple[Any, ...]]:
    """Run a statement in a session of its own."""
    dsn = os.environ["SHOP_WEB_DSN"]
    connected = psycopg2.connect(dsn, connect_timeout=2)
    with closing(connected) as session, session, session.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


class Handler(BaseHTTPRequestHandler):
    """Answers requests."""

    def do_GET(self) -> None:
        """Report the health, or show the contract."""
        if self.path == "/contract.json":
            return self._answer(200, CONTRACT)
        if self.path != "/state":
            return self._answer(404, {})
        try:
            found = query(WORKERS, "shop worker")
        except psycopg2.Error:
            return self._answer(503, {"state": "no database"})
        return self._answer(200 if found[0][0] else 503, {})

    def do_POST(self) -> None:
        """Store an order."""
        body = self.rfile.read(int(self.headers["content-length"]))
        number = json.loads(body)["number"]
        statement = "INSERT INTO orders VALUES (%s) ON CONFLICT DO NOTHING RETURNING number"
        try:
            rows = query(statement, number)
        except psycopg2.Error:
            return self._answer(503, None)
        return self._answer(*((201, {"state": "new"}) if rows else (409, {"state": "old"})))

    def _answer(self, status: int, value: object) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if body:
            self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A server that keeps each of many connections that are opened at once."""

    request_queue_size = 64


if __name__ == "__main__":
    Server(("", int(os.environ["SHOP_WEB_PORT"])), Handler).serve_forever()
