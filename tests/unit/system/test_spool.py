"""The spool: what is put is there whole, once, in order, and within bounds."""

from __future__ import annotations

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
    """Drain, and return what was written."""
    seen: list[Any] = []
    spool.drain(lambda record: seen.append(record["n"]))
    return seen


def test_spool_gives_back_in_order_once(spool: Spool) -> None:
    """Records come back in the order in which they were put, each once, and are gone then."""
    for number in range(5):
        spool.put(f"task-{number}", {"n": number})
    assert spool.count() == 5
    assert drained(spool) == [0, 1, 2, 3, 4]
    assert (spool.count(), drained(spool)) == (0, [])


def test_spool_sets_aside_what_is_no_record(spool: Spool) -> None:
    """A file that a full disk or a person left unreadable does not keep the others waiting."""
    spool.put("first", {"n": 1})
    (broken,) = spool.folder.glob("*.json")
    broken.write_bytes(b"{half")
    spool.put("second", {"n": 2})
    assert drained(spool) == [2]
    assert [path.name for path in spool.folder.glob(f"*{REFUSED}")] == [
        broken.with_suffix(REFUSED).name
    ]


def test_spool_keeps_the_first_of_a_key(spool: Spool) -> None:
    """A second record of one task changes nothing."""
    spool.put("task", {"n": 1})
    spool.put("task", {"n": 2})
    assert spool.find("task") == {"n": 1}
    assert spool.find("other") is None
    assert drained(spool) == [1]


def test_spool_is_the_owner_s_alone(spool: Spool) -> None:
    """Nobody else on the machine can read a record."""
    spool.put("task", {"n": 1})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in spool.folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700


def test_spool_stops_at_what_is_not_taken(spool: Spool) -> None:
    """What is not taken stays, with all behind it, and comes first the next time."""
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


def test_spool_sets_aside_what_never_fits(spool: Spool) -> None:
    """A record that can never be written is out of the way of the others, and not lost."""
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
    """A record beyond the limit is refused, and says what to do; what was there stays."""
    spool.put("task-0", {"n": "x" * 500})
    with pytest.raises(SpoolError, match=r"got 1 entries and 5\d\d bytes more, expected at"):
        spool.put("task-1", {"n": "x" * 500})
    assert drained(spool) == ["x" * 500]


def test_spool_is_drained_by_one_at_a_time(spool: Spool) -> None:
    """While one drains, another finds nothing to do: no record is written twice."""
    spool.put("task", {"n": 1})
    other = Spool(spool.folder, limit_bytes=1000)
    inner: list[int] = []
    assert spool.drain(lambda _: inner.append(other.drain(lambda _: None))) == 1
    assert inner == [0]


def test_spool_leaves_halves_alone(spool: Spool) -> None:
    """What a process that died in the middle left behind is no record."""
    spool.put("task", {"n": 1})
    (spool.folder / "00000000000000000001-x.7.part").write_text('{"n": 2', encoding="ascii")
    assert drained(spool) == [1]


def test_folder_is_of_one_database(tmp_path: Path) -> None:
    """Entries of one database never go into another; a changed password changes nothing."""
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
