"""Gives a check the answers that were recorded when it ran, in place of a system.

A request is matched by its object, its name and the digest of its arguments; equal requests get
their answers in the order in which they were given. A request that was not made gets no answer: the
check cannot be judged by what was recorded.

Time does not pass. A pause of `wait_until` moves a clock of its own, and a poll that asks more
often than it did then gets the last answer again.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from gateproof.base.errors import HarnessError
from gateproof.description.sut import Sut
from gateproof.probes.answers.request import Requests, places_of
from gateproof.probes.answers.value import KIND, decode, decode_error
from gateproof_evidence.judging.rejudgement import MARK
from gateproof_evidence.redaction.redactor import Redactor

ATTRIBUTE = "attribute"
"""Stands for the digest of a request that has no arguments because it is no call."""

Key = tuple[int, str, str]
"""Object, name, and digest of the arguments."""


class NotRecordedError(BaseException):
    """A check asked for what was not recorded.

    Not an `Exception`, so that no handler of the check takes it for an error of the system.
    """


class Clock:
    """The time of a playback: only pauses move it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses = 0

    def monotonic(self) -> float:
        """Return the seconds of all pauses so far."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Pause."""
        self.now += seconds
        self.pauses += 1


@dataclass
class _Answers:
    """The answers to one request, in order."""

    left: deque[Mapping[str, Any]] = field(default_factory=deque)
    last: Mapping[str, Any] | None = None
    pauses: int = 0
    """How many pauses there had been at the last answer."""


class Player:
    """The recorded answers to one check.

    Args:
        lines: the lines of its file, see `gateproof.probes.answers.boundary`.
        sut: the description of the system.
        clock: the clock of `wait_until`.

    Raises:
        ValueError: a line is damaged.

    """

    def __init__(self, lines: Iterable[str], *, sut: Sut, clock: Clock) -> None:
        self._sut = sut
        self._clock = clock
        self._fixtures: dict[str, int] = {}
        self._drawn: deque[Any] = deque()
        self._answers: dict[Key, _Answers] = defaultdict(_Answers)
        self._methods: set[tuple[int, str]] = set()
        self._requests = Requests(places=places_of(sut), redactor=Redactor(), number=number_of)
        self._refusal: type[BaseException] = HarnessError
        """The class of refusals: pytest expects an `Exception` of a fixture."""
        self.redacted = False
        """Whether anything was removed from an answer that was given."""
        self.missing = ""
        """The first request that was not recorded; empty if there was none."""
        for line in lines:
            self._read(json.loads(line))

    @contextmanager
    def in_call(self) -> Iterator[None]:
        """Play back the check itself, after its fixtures."""
        self._refusal = NotRecordedError
        try:
            yield
        finally:
            self._refusal = HarnessError

    def fixture(self, name: str) -> Any:
        """Return what stands for a fixture.

        Raises:
            NotRecordedError: the check did not have it.

        """
        if name not in self._fixtures:
            self._refuse(f"the fixture {name}")
        return Played(self, self._fixtures[name])

    def attribute(self, number: int, name: str) -> Any:
        """Return the value of an attribute, or a function that answers calls."""
        if (number, name) in self._methods:
            return lambda *args, **kwargs: self.call(number, name, args, kwargs)
        return self._next((number, name, ATTRIBUTE), name)

    def call(self, number: int, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the next answer to a call, or raise its exception."""
        shown = ", ".join([*map(repr, args), *(f"{key}={one!r}" for key, one in kwargs.items())])
        key = (number, name, self._requests.digest(args, kwargs))
        return self._next(key, f"{name}({shown})")

    def has(self, number: int, name: str) -> bool:
        """Return whether an object has answered calls of a name."""
        return (number, name) in self._methods

    def draw(self, make: Callable[[], Any]) -> Any:  # noqa: ARG002 (recorded values alone)
        """Return the next identifier or time that the check was given.

        Raises:
            NotRecordedError: it asks for more of them.

        """
        if not self._drawn:
            self._refuse("another identifier or time")
        return decode(self._drawn.popleft(), self._made)

    def _read(self, line: Mapping[str, Any]) -> None:
        if "fixture" in line:
            self._fixtures[line["fixture"]] = line["is"]
            return
        if "drew" in line:
            self._drawn.append(line["drew"])
            return
        key = (line["of"], line["call"], line.get("asked", ATTRIBUTE))
        self._answers[key].left.append(line)
        if "asked" in line:
            self._methods.add(key[:2])

    def _next(self, key: Key, shown: str) -> Any:
        known = self._answers.get(key)
        if known is None:
            self._refuse(shown)
        answer = self._one_of(known)
        if answer is None:
            self._refuse(f"{shown} once more")
        self.redacted = self.redacted or MARK in json.dumps(answer)
        if "raised" in answer:
            raise decode_error(answer["raised"], self._made)
        return decode(answer["gave"], self._made)

    def _one_of(self, known: _Answers) -> Mapping[str, Any] | None:
        """Return the next answer; without one, the last after a pause or of a steady attribute."""
        again = known.pauses < self._clock.pauses or _is_steady(known.last)
        if known.left:
            answer = known.left.popleft()
            known.last = known.last if "same" in answer else answer
        elif not again:
            return None
        known.pauses = self._clock.pauses
        return known.last

    def _made(self, value: Mapping[str, Any]) -> Any:
        match value.get(KIND):
            case "sut":
                return self._sut
            case "object":
                return Played(self, value["is"])
            case "other":
                self._refuse(f"an answer of the kind {value['is']}")
        raise ValueError(f"answer: got the kind {value.get(KIND)}, expected one of this version")

    def _refuse(self, what: str) -> NoReturn:
        self.missing = self.missing or what
        raise self._refusal(f"not recorded: {what}")


class Played:
    """Stands for an object that a check asked when it ran."""

    __slots__ = ("__gateproof__",)

    def __init__(self, player: Player, number: int) -> None:
        object.__setattr__(self, "__gateproof__", (player, number))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        player, number = self.__gateproof__
        return player.attribute(number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Change nothing: what followed from the change is recorded."""

    def __enter__(self) -> Any:
        return _call(self, "__enter__")

    def __exit__(self, *exception: object) -> bool:
        return bool(_call(self, "__exit__"))

    def __iter__(self) -> Iterator[Any]:
        return iter(_call(self, "__iter__"))

    def __len__(self) -> int:
        return int(_call(self, "__len__"))

    def __getitem__(self, key: Any) -> Any:
        return _call(self, "__getitem__", key)

    def __contains__(self, key: Any) -> bool:
        return bool(_call(self, "__contains__", key))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next answer to such a call."""
        return _call(self, "__call__", *args, **kwargs)

    def __bool__(self) -> bool:
        player, number = self.__gateproof__
        return bool(len(self)) if player.has(number, "__len__") else True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Played) and number_of(self) == number_of(other)

    def __hash__(self) -> int:
        return hash(number_of(self))


def number_of(value: Any) -> int | None:
    """Return the number of a played object; None for any other value."""
    return value.__gateproof__[1] if isinstance(value, Played) else None


def _call(one: Played, name: str, *args: Any, **kwargs: Any) -> Any:
    player, number = one.__gateproof__
    return player.call(number, name, args, kwargs)


def _is_steady(answer: Mapping[str, Any] | None) -> bool:
    """Return whether an answer is an object that an attribute has."""
    if answer is None or "asked" in answer:
        return False
    gave = answer.get("gave")
    return isinstance(gave, Mapping) and gave.get(KIND) in ("object", "sut")
