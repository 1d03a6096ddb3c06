"""The endpoints of a real worker under many, slow or silent clients."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil

from .support import Database, StartWorker, Worker, make_client, wait_for

PING = "app.tasks.housekeeping.ping"
SLOW = 400
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER_WITHIN_S = 5.0


@contextmanager
def slow_clients(worker: Worker, count: int) -> Iterator[list[socket.socket]]:
    """Connect clients: a third stays silent, a third sends half a request, a third never reads."""
    with ExitStack() as stack:
        clients = []
        for number in range(count):
            address = ("127.0.0.1", worker.port)
            client = stack.enter_context(socket.create_connection(address, timeout=10))
            client.sendall((b"", REQUEST[:9], REQUEST)[number % 3])
            clients.append(client)
        yield clients


def held_by(process: psutil.Process, port: int) -> list[Any]:
    """Return the open sockets of a process that are bound to a local port."""
    return [made for made in process.net_connections("tcp") if made.laddr.port == port]


def scrape(worker: Worker) -> bool:
    """Return whether both endpoints answer within the deadline."""
    began = time.monotonic()
    statuses = [worker.ask(path).status_code for path in ("/metrics", "/health")]
    return statuses == [200, 200] and time.monotonic() - began < 2 * ANSWER_WITHIN_S


def test_slow_clients_block_no_scrape(database: Database, start_worker: StartWorker) -> None:
    """Hundreds of slow clients block no scrape or task, and leave no thread or descriptor."""
    worker = start_worker(database, "--pool", "prefork", "--concurrency", "1")
    process = psutil.Process(worker.process.pid)
    assert scrape(worker)
    threads, descriptors = process.num_threads(), process.num_fds()
    with slow_clients(worker, SLOW) as clients, make_client(database) as client:
        assert all(scrape(worker) for _ in range(5))
        assert client.run(PING)["status"] == "ok"
        # A running health check and the count of dead-letter rows have threads too.
        assert process.num_threads() <= threads + 3
        assert process.num_fds() < descriptors + len(clients) // 2
    assert wait_for(lambda: process.num_threads() <= threads)
    assert wait_for(lambda: process.num_fds() <= descriptors + 2)
    assert scrape(worker)


def test_silent_clients_are_disconnected(database: Database, start_worker: StartWorker) -> None:
    """A client that stays silent gets 408 at the deadline, and its connection is closed."""
    worker = start_worker(database, "--pool", "solo")
    with slow_clients(worker, 1) as clients:
        clients[0].settimeout(20)
        assert clients[0].recv(100).startswith(b"HTTP/1.1 408 ")


def test_child_keeps_no_connection_of_a_client(
    database: Database, start_worker: StartWorker
) -> None:
    """A child that is forked while clients are connected keeps none of their connections."""
    options = ("--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "1")
    worker = start_worker(database, *options)
    parent = psutil.Process(worker.process.pid)
    with slow_clients(worker, 30), make_client(database) as client:
        pids = {client.run(PING)["pid"] for _ in range(2)}
        assert len(pids) == 2
        assert len(held_by(parent, worker.port)) > 1  # its own and those of clients
        # The next child starts a moment later, and closes the sockets after its start.
        assert wait_for(
            lambda: [
                child
                for child in parent.children()
                if child.pid not in pids and not held_by(child, worker.port)
            ]
        )


def test_many_scrapes_at_once_are_all_answered(
    database: Database, start_worker: StartWorker
) -> None:
    """A hundred scrapes and health checks, 16 at a time, are all answered."""
    worker = start_worker(database, "--pool", "threads", "--concurrency", "2")
    with ThreadPoolExecutor(max_workers=16) as clients:
        answers = list(
            clients.map(lambda path: worker.ask(path).status_code, ("/metrics", "/health") * 50)
        )
    assert answers == [200] * 100
