"""Ask the endpoints and the health of a worker, without one.

It runs in the interpreter of the system, as a part of the program.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from types import SimpleNamespace as Some
from typing import Any

from sqlalchemy import Engine

from system.gates.upkeep.values import eventually, refusals, rows_of, urls

health_module = import_module("system.observability.health")
monitoring = import_module("system.observability.monitoring")


class Monitored:
    """Functions that expressions call about endpoints and health."""

    owner: Engine
    """Connects as the owner of the database."""

    def http(self, *requests: str, endpoints: Any = None, ends: bool = True) -> list[Any]:
        """Return the answers of a server to requests, each on a connection of its own."""
        server = monitoring.serve("127.0.0.1", 0, endpoints or self.endpoints())
        try:
            return [_asked(server.port, one, ends=ends) for one in requests]
        finally:
            server.close()

    def endpoints(self, ok: bool = True, rendered: Callable[[], bytes] | None = None) -> Any:
        """Return the endpoints of a worker."""
        return monitoring.endpoints_of(
            rendered or (lambda: b"some_total 1\n"), self.health(d=lambda: None if ok else 1 / 0)
        )

    def health(self, *, limit_s: float = 1.0, **asked: Callable[[], object]) -> Any:
        """Return the health of dependencies that answer so."""
        checks = tuple(health_module.Check(name, ask) for name, ask in asked.items())
        return health_module.Health(checks, limit_s)

    def constants(self, call: Callable[[], Any], **changed: Any) -> Any:
        """Return the result of a call with other limits of the endpoints."""
        before = {name: getattr(monitoring, name) for name in changed}
        vars(monitoring).update(changed)
        try:
            return call()
        finally:
            vars(monitoring).update(before)

    def crowded(self, count: int) -> dict[str, Any]:
        """Have connections wait, then ask; return which were displaced, and how many are left."""
        server = monitoring.serve("127.0.0.1", 0, self.endpoints())
        clients = [_client(server, place + 1) for place in range(count)]
        answer = _asked(server.port, "GET /metrics HTTP/1.1\r\n\r\n", ends=True)[0]
        eventually(lambda: server.connections == count - 2)
        displaced = [place for place, one in enumerate(clients) if _is_over(one)]
        found = {"answered": answer, "displaced": displaced, "open": server.connections}
        server.close()
        return found

    def closing(self) -> list[Any]:
        """Close a server; return what its clients and the next one see."""
        server = monitoring.serve("127.0.0.1", 0, self.endpoints())
        clients, port = [_client(server, place + 1) for place in range(2)], server.port
        server.close()
        threads = [one.name for one in threading.enumerate() if one.name == "monitoring"]
        over = [eventually(partial(_is_over, one)) for one in clients]
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return [*over, server.connections, threads, "refused"]
        return [*over, server.connections, threads, "accepted"]

    def in_use(self) -> list[str]:
        """Return how binding fails at a port in use, and at an address of another machine."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            asked = (("127.0.0.1", port), ("192.0.2.1", port))
            found = refusals(lambda one: monitoring.serve(*one, self.endpoints()), *asked)
        return [one.replace(str(port), "PORT") for one in found]

    async def shared(self) -> list[list[int]]:
        """Return the results of metrics that are asked for at once, and again during the call."""
        calls, released = [], threading.Event()

        def count() -> bytes:
            calls.append(1)
            found = len(calls)
            released.wait(20)
            return str(found).encode()

        get = self.endpoints(rendered=count)["/metrics"]
        first = [asyncio.ensure_future(get()) for _ in range(3)]
        while not calls:
            await asyncio.sleep(0.001)
        second = [asyncio.ensure_future(get()) for _ in range(2)]
        await asyncio.sleep(0.01)
        released.set()
        return [[int((await one).body) for one in group] for group in (first, second)]

    async def joined(self, outcomes: list[bool], count: int) -> list[Any]:
        """Return the answers of a check that is asked several times at once, and its queries."""
        began, released = [], threading.Event()

        def ask() -> None:
            began.append(1)
            released.wait(20)
            if not outcomes[len(began) - 1]:
                raise ValueError("no")

        check, end = health_module.Check("a", ask), time.monotonic() + 20
        asked = [asyncio.ensure_future(check.answers(end)) for _ in range(count)]
        await asyncio.sleep(0)  # (now each of them waits for a query)
        released.set()
        return [await asyncio.gather(*asked), len(began)]

    def again(self, outcomes: list[bool]) -> list[Any]:
        """Return the answers of a check that is asked several times in turn, and its queries."""
        began = []

        def ask() -> None:
            began.append(1)
            if not outcomes[len(began) - 1]:
                raise ValueError("no")

        check, end = health_module.Check("a", ask), time.monotonic() + 20
        return [[asyncio.run(check.answers(end)) for _ in outcomes], len(began)]

    async def learning(self, broker: str | None, error: Exception | None) -> list[Any]:
        """Return the health with a consumer that ends so, and what it learned to wait."""
        seen: list[list[Any]] = []

        def expect_progress(waits: Mapping[str, float]) -> None:
            seen.extend([name, 99 < wait_s < 200] for name, wait_s in waits.items())
            if error is not None:
                raise error

        known = urls(**({"broker_url": broker} if broker else {}))
        health = health_module.health_of(known, 9.0, Some(expect_progress=expect_progress), 2)
        return [await health.ask(), seen]

    def gone(self) -> int:
        """Return how many connections of health there are, once they had the time to end."""
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'system-health'"
        eventually(lambda: self._owned(asked) == 0)
        return int(self._owned(asked))

    def _owned(self, statement: str) -> Any:
        with self.owner.connect() as connection:
            return rows_of(connection, statement)[0][0]

    def query(self, statement: str, limit_s: float = 5.0, values: Any = None) -> Any:
        """Query the database as health does."""
        return health_module.query(os.environ["DATABASE_URL"], statement, limit_s, values)


def _asked(port: int, request: str, *, ends: bool) -> Any:
    """Send a request, and return its answer by lines, without its time."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request.encode("latin-1"))
        if ends:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return re.sub("Date: .*?GMT", "Date: now", answer.decode("latin-1")).split("\r\n")


def _client(server: Any, number: int) -> socket.socket:
    """Return a connection that sends nothing, once the server has it."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.setblocking(False)
    eventually(lambda: server.connections == min(number, monitoring.MOST_CONNECTIONS))
    return client


def _is_over(client: socket.socket) -> bool:
    """Return whether the server has closed a connection."""
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
