"""The spool: records are complete, unique, in order, and limited in size."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from system.dead_letters.storage.spool import REFUSED, Spool, folder_for
from system.errors import SpoolError


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool of a kilobyte."""
    return Spool(tmp_path / "deep" / "spool", limit_bytes=1000)


def drained(spool: Spool) -> list[Any]:
    """Drain the spool, and return the records."""
    seen: list[Any] = []
    spool.drain(lambda record: seen.append(record["n"]))
    return seen


def test_spool_returns_records_once_and_in_order(spool: Spool) -> None:
    """Records are drained in the order in which they were put, and are then removed."""
    for number in range(5):
        spool.put(f"task-{number}", {"n": number})
    assert spool.count() == 5
    assert drained(spool) == [0, 1, 2, 3, 4]
    assert (spool.count(), drained(spool)) == (0, [])


def test_spool_sets_aside_an_unreadable_file(spool: Spool) -> None:
    """An unreadable file does not block the other records."""
    spool.put("first", {"n": 1})
    (broken,) = spool.folder.glob("*.json")
    broken.write_bytes(b"{half")
    spool.put("second", {"n": 2})
    assert drained(spool) == [2]
    assert [path.name for path in spool.folder.glob(f"*{REFUSED}")] == [
        broken.with_suffix(REFUSED).name
    ]


def test_spool_keeps_the_first_record_of_a_key(spool: Spool) -> None:
    """A second record with the same key is ignored."""
    spool.put("task", {"n": 1})
    spool.put("task", {"n": 2})
    assert spool.find("task") == {"n": 1}
    assert spool.find("other") is None
    assert drained(spool) == [1]


def test_spool_is_private_to_its_owner(spool: Spool) -> None:
    """No other account on the machine can read a record."""
    spool.put("task", {"n": 1})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in spool.folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700


def test_spool_stops_at_a_record_that_fails(spool: Spool) -> None:
    """A record that fails stays, with all after it, and is the first of the next drain."""
    for number in range(3):
        spool.put(f"task-{number}", {"n": number})
    seen: list[Any] = []

    def take_one(record: dict[str, Any]) -> None:
        if seen:
            raise ConnectionError
        seen.append(record["n"])

    with pytest.raises(ConnectionError):
        spool.drain(take_one)
    assert seen == [0]
    assert drained(spool) == [1, 2]


def test_spool_sets_aside_a_record_that_is_refused(spool: Spool) -> None:
    """A record that can never be written does not block the others, and is not lost."""
    spool.put("task-0", {"n": 0})
    spool.put("task-1", {"n": 1})
    seen: list[Any] = []

    def refuse_first(record: dict[str, Any]) -> None:
        if record["n"] == 0:
            raise SpoolError("never")
        seen.append(record["n"])

    assert spool.drain(refuse_first) == 1
    assert seen == [1]
    assert [path.suffix for path in spool.folder.iterdir() if path.name != "lock"] == [REFUSED]


def test_spool_is_bounded(spool: Spool) -> None:
    """A record beyond the size limit is refused, and the earlier records stay."""
    spool.put("task-0", {"n": "x" * 500})
    with pytest.raises(SpoolError, match=r"got 1 entries and 5\d\d bytes more, expected at"):
        spool.put("task-1", {"n": "x" * 500})
    assert drained(spool) == ["x" * 500]


def test_spool_has_one_drain_at_a_time(spool: Spool) -> None:
    """A second drain during the first one does nothing, so no record is written twice."""
    spool.put("task", {"n": 1})
    other = Spool(spool.folder, limit_bytes=1000)
    inner: list[int] = []
    assert spool.drain(lambda _: inner.append(other.drain(lambda _: None))) == 1
    assert inner == [0]


def test_child_that_is_forked_during_a_drain_does_not_keep_the_lock(spool: Spool) -> None:
    """A pool replaces a child at any time; the child lives on after the drain has ended."""
    children: list[int] = []

    def fork(_: object) -> None:
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
        children.append(child)

    try:
        spool.put("task-0", {"n": 0})
        assert spool.drain(fork) == 1
        spool.put("task-1", {"n": 1})
        assert drained(spool) == [1]
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert len(children) == 1, "premise: a child was forked"


def test_spool_ignores_partial_files(spool: Spool) -> None:
    """A partial file of a process that died is no record."""
    spool.put("task", {"n": 1})
    (spool.folder / "00000000000000000001-x.7.part").write_text('{"n": 2', encoding="ascii")
    assert drained(spool) == [1]


def test_folder_is_of_one_database(tmp_path: Path) -> None:
    """Each database has its own folder, which does not depend on user or password."""
    first, again, other = (
        folder_for(tmp_path, url)
        for url in (
            "postgresql+psycopg2://u:one@h/a",
            "postgresql+psycopg2://v:two@h/a?sslmode=require",
            "postgresql+psycopg2://u:one@h/b",
        )
    )
    assert first == again != other
    assert "one" not in first.name
