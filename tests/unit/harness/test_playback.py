"""Playback: what a check was answered is recorded, and is what it gets again without the system."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from gateproof.base.draw import drawing_by, drawn, monotonic_s, new_number, new_uuid, utc_now
from gateproof.base.errors import HarnessError, NotReadyError
from gateproof.base.wait import wait_until, waiting_by
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.environments.interface import Address
from gateproof.plugin.playback.player import Clock, NotRecordedError, Player
from gateproof.probes.answers.boundary import Boundary, answers_name
from gateproof.probes.answers.request import places_of
from gateproof.probes.answers.value import (
    NotAValueError,
    decode,
    decode_error,
    encode,
    encode_error,
)
from gateproof.probes.recorder import Recorder
from gateproof.probes.sql import Refused, Rows
from gateproof.probes.task import EagerModeError, TaskResult
from gateproof_evidence.errors import NotWritableError
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.model import Redaction
from gateproof_evidence.redaction.redactor import Redactor
from tests.acceptance.conftest import ROOT

SECRET = "correct-horse-battery"
NAME = answers_name("rls", "RLS-02", "test_rows[a]")


def refuse(value: Any) -> Any:
    """Return no object of an unknown kind."""
    raise ValueError(f"unknown: {value}")


class Door:
    """An object without JSON."""

    __module__ = "gateproof.tested"

    def __init__(self) -> None:
        self.opened = 0

    @property
    def state(self) -> str:
        """Its state, which changes."""
        return "open" if self.opened else "shut"

    @contextmanager
    def held(self) -> Iterator[Door]:
        """Hold it open in the block."""
        self.opened += 1
        yield self
        self.opened = 0


class House:
    """Answers like a fixture."""

    def __init__(self) -> None:
        self.door = Door()
        self.asked: list[Any] = []
        self.rooms = ["hall", "attic"]

    def rows(self, statement: str, params: tuple[Any, ...] = ()) -> Rows:
        """Return one more row at each call."""
        self.asked.append((statement, params))
        number = len(self.asked)
        return Rows(columns=("n", "password"), rows=((number, SECRET),), count=1)

    def named(self) -> dict[str, Door]:
        """Return objects by name."""
        return {"front": self.door}

    def doors(self) -> list[Door]:
        """Return objects in a list."""
        return [self.door, self.door]

    def through(self, door: Door, text: str = "") -> str:
        """Return what kind of object it got."""
        return f"{type(door).__name__} {text}"

    def raw(self, content: bytes) -> bytes:
        """Return bytes."""
        return content

    def other(self) -> Iterator[int]:
        """Return an object of another package."""
        return iter(range(3))

    def fail(self, error: Exception) -> None:
        """Raise an exception."""
        raise error

    def made(self) -> str:
        """Return a new identifier of its own."""
        return str(new_uuid())

    def __iter__(self) -> Iterator[str]:
        return iter(self.rooms)

    def __len__(self) -> int:
        return len(self.rooms)

    def __getitem__(self, key: int) -> str:
        return self.rooms[key]

    def __contains__(self, key: object) -> bool:
        return key in self.rooms


@pytest.fixture(scope="module")
def sut() -> Sut:
    """The description of the reference system."""
    return load_sut(ROOT / "system" / "sut.toml")


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """A recorder that knows one secret."""
    redactor = Redactor()
    redactor.add_secret("password-app", SECRET)
    journal = Journal(
        tmp_path / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC)
    )
    yield Recorder(journal, redactor, tmp_path)
    journal.close()


@pytest.fixture
def boundary(recorder: Recorder, sut: Sut) -> Boundary:
    """The boundary of one check."""
    return Boundary(recorder, NAME, places=places_of(sut))


@pytest.fixture
def play(tmp_path: Path, sut: Sut) -> Callable[[], Player]:
    """Return a function that returns a player of what was recorded so far."""

    def make(clock: Clock | None = None) -> Player:
        lines = (tmp_path / NAME).read_text(encoding="utf-8").splitlines()
        return Player(lines, sut=sut, clock=clock or Clock())

    return make


# --- values --------------------------------------------------------------------------------------

VALUES = {
    "none": None,
    "truth": True,
    "number": 1.25,
    "text": "ä\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "uuid": uuid.UUID(int=7),
    "decimal": decimal.Decimal("1.10"),
    "datetime": dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    "naive": dt.datetime(2026, 1, 2, 3, 4),  # noqa: DTZ001 (PostgreSQL has such)
    "date": dt.date(2026, 1, 2),
    "time": dt.time(3, 4, 5),
    "bytes": b"\x00\xff",
    "text-as-bytes": "ä\n".encode(),
    "path": Path("/a/b"),
    "list": [1, [2, (3,)]],
    "tuple": (1, ("a", b"b")),
    "set": {"b", "a"},
    "frozenset": frozenset({1, 2}),
    "mapping": {"a": {"b": (1,)}},
    "mapping-of-numbers": {1: "a", (2, 3): "b"},
    "mapping-like-a-mark": {"__type__": "uuid", "is": 3},
    "rows": Rows(columns=("a",), rows=((uuid.UUID(int=1),),), count=1),
    "refused": Refused(sqlstate="42501", message="denied"),
    "result": TaskResult(task_id="1", state="SUCCESS", value={"n": 1}, timed_out=False),
    "address": Address(host="127.0.0.1", port=5432),
    "model": Redaction(rule="jwt", count=2),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_value_is_the_same_after_a_file(value: Any) -> None:
    """A value, its class and the classes inside it are the same after JSON."""
    again = decode(json.loads(json.dumps(encode(value))), refuse)
    assert (again, type(again)) == (value, type(value))


@pytest.mark.parametrize(
    "value", [Door(), object(), [Door()], len, threading.Lock()], ids=lambda one: type(one).__name__
)
def test_object_is_no_value(value: object) -> None:
    """An object that a check can act on is not written as a value."""
    with pytest.raises(NotAValueError):
        encode(value)


@pytest.mark.parametrize(
    "error",
    [
        NotReadyError("not in 3 s"),
        EagerModeError("ran inside"),
        AssertionError("could not publish"),
        psycopg.errors.LockNotAvailable("busy"),
        FileNotFoundError(2, "No such file"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exception_has_its_class_and_text_again(error: Exception) -> None:
    """A check that catches an exception, or reads its text, gets the same one."""
    again = decode_error(json.loads(json.dumps(encode_error(error))), refuse)
    assert (type(again), str(again)) == (type(error), str(error))


def test_exception_of_another_package_is_raised_as_its_nearest_class() -> None:
    """A class that is not made again is replaced by the nearest base class that is."""

    class OwnError(NotReadyError):
        pass

    OwnError.__module__ = "elsewhere"
    again = decode_error(encode_error(OwnError("late")), refuse)
    assert (type(again), str(again)) == (NotReadyError, "late")


@pytest.mark.parametrize(
    "name",
    ["os:system", "subprocess:Popen", "gateproofs:X", "pathlib:Path", "gateproof.base.git:run"],
)
def test_bundle_cannot_name_what_is_imported(name: str) -> None:
    """A record or an exception of a bundle makes no object of any other module."""
    with pytest.raises((ValueError, AttributeError), match=r"expected|has no attribute"):
        decode({"__type__": "record", "of": name, "is": {}}, refuse)
    with pytest.raises((ValueError, AttributeError), match=r"expected|has no attribute"):
        decode_error({"of": name, "text": "", "fields": {}}, refuse)


# --- recording and playing back ------------------------------------------------------------------


def test_answers_come_again_in_their_order(boundary: Boundary, play: Callable[..., Player]) -> None:
    """Equal requests get their answers in order; a secret column has none of its values."""
    house = boundary.fixture("house", House())
    seen = [house.rows("SELECT 1").scalar(), house.rows("SELECT 2").scalar()]
    seen.append(house.rows("SELECT 1").scalar())
    again = play().fixture("house")
    assert seen == [1, 2, 3]
    assert [again.rows("SELECT 2").scalar(), *(again.rows("SELECT 1").scalar() for _ in "ab")] == [
        2,
        1,
        3,
    ]


def test_secret_is_not_in_the_answers(boundary: Boundary, tmp_path: Path) -> None:
    """Neither a known secret nor the value of a column with such a name is written."""
    house = boundary.fixture("house", House())
    house.rows(f"SELECT '{SECRET}'", ("unknown-but-named",))
    assert house.through(house.door, SECRET) == f"Door {SECRET}", "the check itself sees it"
    assert house.raw(b"\xff" + SECRET.encode()) == b"\xff" + SECRET.encode()
    house.raw(SECRET.encode())
    content = (tmp_path / NAME).read_text()
    assert SECRET not in content
    assert "unknown-but-named" not in content
    assert "[redacted:" in content


def test_player_knows_that_an_answer_was_redacted(
    boundary: Boundary, play: Callable[..., Player]
) -> None:
    """Only an answer that was given counts."""
    house = boundary.fixture("house", House())
    assert house.through(house.door) == "Door "
    house.rows("SELECT 1")
    player = play()
    again = player.fixture("house")
    again.through(again.door)
    assert not player.redacted
    again.rows("SELECT 1")
    assert player.redacted


def test_objects_are_asked_as_before(boundary: Boundary, play: Callable[..., Player]) -> None:
    """Objects in lists, blocks and arguments are the same; attributes change as they did."""
    house = boundary.fixture("house", House())

    def use(one: Any) -> list[Any]:
        first, second = one.doors()
        with one.door.held() as held:
            inside = held.state
        found = [first is second or first == second, one.through(one.named()["front"], "in")]
        return [*found, inside, one.door.state, list(one), len(one), one[1], "hall" in one]

    seen = use(house)
    assert seen == [True, "Door in", "open", "shut", ["hall", "attic"], 2, "attic", True]
    assert use(play().fixture("house")) == seen


def test_object_of_an_attribute_can_be_asked_for_more_often(
    boundary: Boundary, play: Callable[..., Player]
) -> None:
    """A changed check may name a probe once more; what it asks the probe must be recorded."""
    house = boundary.fixture("house", House())
    assert house.door.state == "shut"
    again = play().fixture("house")
    assert again.door == again.door
    assert again.door.state == "shut"


def test_exception_of_a_fixture_is_raised_again(
    boundary: Boundary, play: Callable[..., Player]
) -> None:
    """A check that expects a refusal gets it."""
    house = boundary.fixture("house", House())
    for one in (house, None):
        target = one if one is not None else play().fixture("house")
        with pytest.raises(NotReadyError, match="not in 3 s"):
            target.fail(NotReadyError("not in 3 s"))


def test_block_ends_with_the_exception_of_the_check(boundary: Boundary) -> None:
    """A recorded block does not keep back what the check raises inside it."""
    house = boundary.fixture("house", House())
    with pytest.raises(KeyError), house.door.held():
        raise KeyError("own")


def test_object_of_another_package_stays_as_it_is(
    boundary: Boundary, play: Callable[..., Player]
) -> None:
    """A check can use it in every way, and is not played back with it."""
    house = boundary.fixture("house", House())
    assert next(house.other()) == 0
    player = play()
    with player.in_call(), pytest.raises(NotRecordedError, match="an answer of the kind range_it"):
        player.fixture("house").other()


def test_answer_that_is_the_same_again_is_short(
    boundary: Boundary, play: Callable[..., Player], tmp_path: Path
) -> None:
    """A poll that sees the same has a short line, and is played back with the same answer."""
    house = boundary.fixture("house", House())
    text = "x" * 5_000
    seen = [house.through(house.door, text) for _ in range(20)]
    assert len((tmp_path / NAME).read_text()) < 3 * len(text)
    again = play().fixture("house")
    assert [again.through(again.door, text) for _ in range(20)] == seen


def test_check_that_runs_again_begins_again(
    recorder: Recorder, sut: Sut, play: Callable[..., Player]
) -> None:
    """The answers are those of its last run."""
    for _ in range(2):
        house = Boundary(recorder, NAME, places=places_of(sut)).fixture("house", House())
        assert house.rows("SELECT 1").scalar() == 1
    player = play()
    again = player.fixture("house")
    assert again.rows("SELECT 1").scalar() == 1
    with pytest.raises(HarnessError, match="once more"):
        again.rows("SELECT 1")


def test_check_can_set_an_attribute(boundary: Boundary) -> None:
    """The object behind gets the value."""
    target = House()
    boundary.fixture("house", target).rooms = ["cellar"]
    assert target.rooms == ["cellar"]


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda house: house.rows("SELECT 3"), r"rows\('SELECT 3'\)"),
        (lambda house: [house.rows("SELECT 1") for _ in "ab"], r"rows\('SELECT 1'\) once more"),
        (lambda house: house.rows("SELECT 1", (1,)), "rows"),
        (lambda house: house.attic, "attic"),
        (lambda house: house.rooms, "rooms"),
        (lambda house: house.door.opened, "opened"),
    ],
    ids=["statement", "more-often", "parameters", "unknown", "attribute", "of-an-object"],
)
def test_request_that_was_not_made_has_no_answer(
    boundary: Boundary, play: Callable[..., Player], ask: Callable[[Any], Any], what: str
) -> None:
    """A request that was not made ends the check, by an exception that no handler catches."""
    house = boundary.fixture("house", House())
    house.rows("SELECT 1")
    assert house.door is house.door
    player = play()
    with player.in_call(), pytest.raises(NotRecordedError, match=f"not recorded: {what}"):
        ask(player.fixture("house"))
    assert player.missing
    assert not issubclass(NotRecordedError, Exception)


def test_fixture_that_the_check_did_not_have_is_an_error_of_its_set_up(
    boundary: Boundary, play: Callable[..., Player]
) -> None:
    """Pytest gets an exception that it expects of a fixture."""
    boundary.fixture("house", House())
    with pytest.raises(HarnessError, match="not recorded: the fixture garden"):
        play().fixture("garden")


def test_wait_ends_as_it_did(boundary: Boundary, play: Callable[..., Player]) -> None:
    """A wait that succeeded succeeds; one that timed out does, and takes no time."""
    target = House()
    house = boundary.fixture("house", target)
    wait_until(lambda: house.rows("poll").scalar() == 3, deadline_s=30, interval_s=0.001)
    late = wait_until(lambda: house.door.state == "open", deadline_s=0.01, interval_s=0.002)
    assert not late
    clock = Clock()
    again = play(clock).fixture("house")
    with waiting_by(clock):
        assert wait_until(lambda: again.rows("poll").scalar() == 3, deadline_s=30)
        assert not wait_until(lambda: again.door.state == "open", deadline_s=600)
    assert clock.now >= 600


def test_identifiers_and_times_come_again(boundary: Boundary, play: Callable[..., Player]) -> None:
    """The check gets the same values; those that an object made for itself are not among them."""
    house = boundary.fixture("house", House())

    def draw() -> list[Any]:
        return [new_uuid(), new_number(10**9), monotonic_s(), utc_now(), drawn(lambda: {"a": b"b"})]

    with drawing_by(boundary.draw):
        first, made, second = draw(), house.made(), draw()
    player = play()
    with drawing_by(player.draw), player.in_call():
        again = player.fixture("house")
        assert (draw(), again.made(), draw()) == (first, made, second)
        with pytest.raises(NotRecordedError, match="another identifier or time"):
            new_uuid()


def test_request_is_the_same_on_another_machine(
    recorder: Recorder, tmp_path: Path, sut: Sut
) -> None:
    """Paths of the system, of temporary folders and secrets make no other request."""
    house = Boundary(recorder, NAME, places=places_of(sut)).fixture("house", House())
    elsewhere: Any = SimpleNamespace(folder=Path("/srv/other"), interpreter="/srv/python")
    temporary = "/tmp/pytest-of-me/pytest-3/popen-gw1/test_a0/x"
    house.through(house.door, f"{sut.folder}/run {temporary} {SECRET}")
    player = Player((tmp_path / NAME).read_text().splitlines(), sut=elsewhere, clock=Clock())
    again = player.fixture("house")
    other = "/dev/shm/t/pytest-of-you/pytest-44/test_a0/x"
    assert again.through(again.door, f"/srv/other/run {other} [redacted:password-app]")


def test_answers_that_cannot_be_written_are_lost_evidence(
    recorder: Recorder, tmp_path: Path, sut: Sut
) -> None:
    """The check ends, and the recorder says that evidence is missing."""
    (tmp_path / "answers").write_text("in the way")
    boundary = Boundary(recorder, NAME, places=places_of(sut))
    with pytest.raises(NotWritableError):
        boundary.fixture("house", House())
    assert "answers" in recorder.lost


def test_threads_of_a_check_do_not_tear_lines(
    boundary: Boundary, play: Callable[..., Player]
) -> None:
    """Every answer of several threads is one line."""
    house = boundary.fixture("house", House())
    threads = [
        threading.Thread(target=lambda n=n: [house.through(house.door, f"{n}") for _ in range(50)])
        for n in range(4)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    again = play().fixture("house")
    for n in range(4):
        assert [again.through(again.door, f"{n}") for _ in range(50)] == [f"Door {n}"] * 50
