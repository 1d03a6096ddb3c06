"""Health: two checks, one deadline, no leaked threads."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from system.observability.health import Check, Health, query


def fine() -> None:
    """Succeed."""


def broken() -> None:
    """Fail."""
    raise ConnectionError("refused")


def report(health: Health) -> dict[str, str]:
    """Run the checks once, and return the report."""
    return asyncio.run(health.ask())


def test_health_is_ok_when_both_answer() -> None:
    """Health is ok if both checks succeed."""
    health = Health((Check("broker", fine), Check("database", fine)), 1.0)
    assert report(health) == {"status": "ok", "broker": "ok", "database": "ok"}


def test_health_names_the_check_that_fails() -> None:
    """One failed check makes the status unhealthy, and the report names the check."""
    health = Health((Check("broker", fine), Check("database", broken)), 1.0)
    assert report(health) == {"status": "unhealthy", "broker": "ok", "database": "error"}
    health = Health((Check("broker", broken), Check("database", fine)), 1.0)
    assert report(health) == {"status": "unhealthy", "broker": "error", "database": "ok"}


def test_health_runs_the_checks_for_each_request() -> None:
    """No answer is cached: a change since the last request is in the next report."""
    asked: list[int] = []

    def once() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise ConnectionError("gone")

    health = Health((Check("database", once),), 1.0)
    assert [report(health)["database"] for _ in range(2)] == ["ok", "error"]


def test_hanging_checks_share_one_deadline() -> None:
    """Two checks that hang are reported within one deadline, and use one thread each."""
    release = threading.Event()
    health = Health(
        tuple(Check(name, lambda: _hang(release)) for name in ("broker", "database")), 1.0
    )
    before = set(threading.enumerate())
    try:
        began = time.monotonic()
        answers = [report(health) for _ in range(2)]
        # One after the other would take 3.2 s. Half a deadline is left to a busy machine.
        assert time.monotonic() - began < 2 * 1.5
        assert all(answer["status"] == "unhealthy" for answer in answers)
        assert all(answer["broker"] == answer["database"] == "error" for answer in answers)
        assert len(set(threading.enumerate()) - before) == 2
    finally:
        release.set()


def test_check_recovers_after_hanging() -> None:
    """A check that hung is ok again once its dependency answers."""
    release = threading.Event()
    health = Health((Check("database", lambda: _hang(release)),), 0.3)
    assert report(health)["database"] == "error"
    release.set()
    assert report(health)["database"] == "ok"


def test_concurrent_requests_share_one_check() -> None:
    """Concurrent requests query a dependency once, and all get the same report."""
    release = threading.Event()
    asked: list[int] = []

    def slow() -> None:
        asked.append(1)
        _hang(release)

    async def ask_often() -> list[dict[str, str]]:
        requests = [asyncio.create_task(health.ask()) for _ in range(20)]
        for _ in range(3):  # Each request begins, and then each check of it.
            await asyncio.sleep(0)
        release.set()
        return await asyncio.gather(*requests)

    health = Health((Check("database", slow),), 5.0)
    assert asyncio.run(ask_often()) == [{"status": "ok", "database": "ok"}] * 20
    assert len(asked) == 1


def test_earlier_failure_is_not_reported_to_a_later_request() -> None:
    """A request that waits for a running check, which then fails, starts another check."""
    fail_now = threading.Event()
    asked: list[int] = []

    def recovering() -> None:
        asked.append(1)
        if len(asked) == 1:
            _hang(fail_now)
            raise ConnectionError("gone")

    async def ask_twice() -> tuple[dict[str, str], dict[str, str]]:
        first = asyncio.create_task(health.ask())
        await asyncio.sleep(0)
        second = asyncio.create_task(health.ask())
        await asyncio.sleep(0)
        fail_now.set()
        return await asyncio.gather(first, second)

    health = Health((Check("database", recovering),), 5.0)
    first, second = asyncio.run(ask_twice())
    assert (first["database"], second["database"]) == ("error", "ok")
    assert len(asked) == 2


@pytest.mark.parametrize("answer", [b"", b"N", b"S"], ids=["silent", "no-tls", "broken-tls"])
def test_query_abandons_a_server_that_stays_silent(answer: bytes) -> None:
    """A server that accepts and then stays silent is abandoned at the deadline, at any stage."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        silent = threading.Thread(target=_stay_silent, args=(listening, answer), daemon=True)
        silent.start()
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="got no answer in time"):
            query(f"postgresql+psycopg2://u:p@127.0.0.1:{port}/d", "SELECT 1", 0.3)
        assert time.monotonic() - began >= 0.3
        silent.join(10)
        assert not silent.is_alive(), (
            "connection to a silent server: got it open, expected it closed"
        )


def _stay_silent(listening: socket.socket, answer: bytes) -> None:
    """Answer one question at most, and return once the client has closed the connection."""
    client, _ = listening.accept()
    with client:
        client.recv(1024)
        client.sendall(answer)
        while client.recv(1024):
            pass


def _hang(release: threading.Event) -> None:
    assert release.wait(10)
