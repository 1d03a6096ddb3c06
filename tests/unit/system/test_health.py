"""Health: two checks, one deadline, no leak."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from system.observability.health import Check, Health, query


def fine() -> None:
    """Answer."""


def broken() -> None:
    """Refuse."""
    raise ConnectionError("refused")


def told(health: Health) -> dict[str, str]:
    """Ask once."""
    return asyncio.run(health.ask())


def test_health_is_ok_when_both_answer() -> None:
    """Both parts answering is ok."""
    health = Health((Check("broker", fine), Check("database", fine)), 1.0)
    assert told(health) == {"status": "ok", "broker": "ok", "database": "ok"}


def test_health_names_the_part_that_is_away() -> None:
    """One part refusing is unhealthy, and the answer says which."""
    health = Health((Check("broker", fine), Check("database", broken)), 1.0)
    assert told(health) == {"status": "unhealthy", "broker": "ok", "database": "error"}
    health = Health((Check("broker", broken), Check("database", fine)), 1.0)
    assert told(health) == {"status": "unhealthy", "broker": "error", "database": "ok"}


def test_health_asks_anew_each_time() -> None:
    """No answer is kept: what changed since the last request shows in the next."""
    asked: list[int] = []

    def once() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise ConnectionError("gone")

    health = Health((Check("database", once),), 1.0)
    assert [told(health)["database"] for _ in range(2)] == ["ok", "error"]


def test_hanging_check_costs_no_more_than_the_deadline() -> None:
    """Two parts that hang are answered for within one deadline, and leave one thread each."""
    release = threading.Event()
    health = Health(
        tuple(Check(name, lambda: _hang(release)) for name in ("broker", "database")), 0.3
    )
    before = threading.active_count()
    try:
        began = time.monotonic()
        answers = [told(health) for _ in range(4)]
        assert time.monotonic() - began < 4 * 0.3
        assert all(answer["status"] == "unhealthy" for answer in answers)
        assert all(answer["broker"] == answer["database"] == "error" for answer in answers)
        assert threading.active_count() == before + 2
    finally:
        release.set()


def test_check_recovers_after_hanging() -> None:
    """Once a part that hung answers again, so does its check."""
    release = threading.Event()
    health = Health((Check("database", lambda: _hang(release)),), 0.3)
    assert told(health)["database"] == "error"
    release.set()
    assert told(health)["database"] == "ok"


def test_requests_join_an_asking_that_is_under_way() -> None:
    """However many ask at once, the dependency is asked once, and all are told the same."""
    release = threading.Event()
    asked: list[int] = []

    def slow() -> None:
        asked.append(1)
        _hang(release)

    async def ask_often() -> list[dict[str, str]]:
        asyncio.get_running_loop().call_later(0.1, release.set)
        return await asyncio.gather(*(health.ask() for _ in range(20)))

    health = Health((Check("database", slow),), 5.0)
    assert asyncio.run(ask_often()) == [{"status": "ok", "database": "ok"}] * 20
    assert len(asked) == 1


def test_old_failure_is_not_told_to_a_later_request() -> None:
    """A request that joined an asking which then fails has the dependency asked once more."""
    away = threading.Event()
    asked: list[int] = []

    def recovering() -> None:
        asked.append(1)
        if len(asked) == 1:
            _hang(away)
            raise ConnectionError("gone")

    async def ask_twice() -> tuple[dict[str, str], dict[str, str]]:
        first = asyncio.create_task(health.ask())
        await asyncio.sleep(0)
        second = asyncio.create_task(health.ask())
        await asyncio.sleep(0)
        away.set()
        return await asyncio.gather(first, second)

    health = Health((Check("database", recovering),), 5.0)
    first, second = asyncio.run(ask_twice())
    assert (first["database"], second["database"]) == ("error", "ok")
    assert len(asked) == 2


@pytest.mark.parametrize("speaks", [b"", b"N", b"S"], ids=["silent", "no-tls", "broken-tls"])
def test_query_lets_go_of_a_server_that_stays_silent(speaks: bytes) -> None:
    """A server that accepts and then says nothing more is left at the limit, at whatever stage."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        silent = threading.Thread(target=_stay_silent, args=(listening, speaks), daemon=True)
        silent.start()
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="got no answer in time"):
            query(f"postgresql+psycopg2://u:p@127.0.0.1:{port}/d", "SELECT 1", 0.3)
        assert time.monotonic() - began >= 0.3
        silent.join(10)
        assert not silent.is_alive(), "connection to a silent server: got it kept, expected it shut"


def _stay_silent(listening: socket.socket, speaks: bytes) -> None:
    """Answer one question at most, and return once the client has closed the connection."""
    client, _ = listening.accept()
    with client:
        client.recv(1024)
        client.sendall(speaks)
        while client.recv(1024):
            pass


def _hang(release: threading.Event) -> None:
    assert release.wait(10)
