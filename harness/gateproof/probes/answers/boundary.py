"""Records what the fixtures of a check answer while the check runs.

A check gets a stand-in for each fixture. It passes every call on, and writes down the answer before
the check sees it. An answer of this package without JSON, such as a worker, becomes a stand-in too;
one of any other package stays as it is. The objects behind are untouched: what they do among
themselves is not recorded.

One file for each check, with a line for each answer:

- ``{"fixture": NAME, "is": NUMBER}``: a fixture, and the number of its object;
- ``{"drew": VALUE}``: an identifier or a time, see `gateproof.base.draw`;
- ``{"of": NUMBER, "call": NAME, "asked": DIGEST, "gave": VALUE}``: a call, or without ``asked`` the
  value of an attribute; with ``raised`` in place of ``gave`` if it raised an exception, and with
  ``same`` if the answer is that of the last equal request.

Not recorded: the arguments, of which the digest alone is kept, and what a check does without its
fixtures, such as reading a file or a clock.

Source: docs/reference/playback.md.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar, cast

from gateproof.probes.answers.request import Requests
from gateproof.probes.answers.value import (
    HOMES,
    KIND,
    NotAValueError,
    encode,
    encode_error,
    is_from,
)
from gateproof.probes.recorder import Recorder, encodable
from gateproof.probes.sql import Rows
from gateproof_evidence.errors import not_writable
from gateproof_evidence.format.layout import ANSWERS, in_data

T = TypeVar("T")

STOOD_FOR = (*HOMES, "contextlib")
"""The packages of objects that a check gets a stand-in for; the second has blocks."""


def answers_name(gate: str, criterion: str, item: str) -> str:
    """Return the path, relative to ``data/``, of the answers to one check.

    Args:
        gate: the gate of its criterion.
        criterion: the criterion.
        item: the name of its function, with its parameters.

    """
    digest = hashlib.sha256(item.encode()).hexdigest()[:8]
    return f"{in_data(ANSWERS)}{gate}/{criterion}.{digest}.jsonl"


class Boundary:
    """The fixtures of one check, and the file of their answers.

    Args:
        recorder: its redactor cleans each answer; the file is in its ``data/`` folder.
        name: the path of the file in it, see `answers_name`.
        places: paths that differ between machines, see `places_of`.

    """

    def __init__(
        self, recorder: Recorder, name: str, *, places: Mapping[str, str] | None = None
    ) -> None:
        self._recorder = recorder
        self._path = recorder.data / name
        self._place = name
        self._numbers: dict[int, int] = {}
        self._objects: list[StandIn] = []
        self._last: dict[tuple[Any, ...], str] = {}
        """The last answer to each request: a poll often sees the same again."""
        self._begun = False
        self._lock = threading.RLock()
        self._inside = threading.local()
        """How many calls of objects behind run in this thread."""
        self._requests = Requests(places=places or {}, redactor=recorder.redactor, number=number_of)

    def fixture(self, name: str, target: T) -> T:
        """Return a stand-in for a fixture."""
        with self._lock:
            found = self._stand_in(target)
            self._write({"fixture": name, "is": number_of(found)})
        return cast("T", found)

    def call(self, one: StandIn, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method, and record its answer."""
        asked = self._requests.digest(args, kwargs)
        line = {"of": number_of(one), "call": name, "asked": asked}
        act = getattr(target_of(one), name)
        given, named = _targets(args), _targets(kwargs)
        return self._answer(line, self._observed(line, lambda: act(*given, **named)))

    def leave(self, one: StandIn, *exception: Any) -> bool:
        """Leave the block of a context manager, and record whether it keeps an exception back.

        The exception is that of the check itself, so it is no part of the request.
        """
        line = {"of": number_of(one), "call": "__exit__", "asked": self._requests.digest((), {})}
        act = target_of(one).__exit__
        return bool(self._answer(line, bool(self._observed(line, lambda: act(*exception)))))

    def elements(self, one: StandIn) -> Iterator[Any]:
        """Return all elements of an object, as one answer."""
        line = {"of": number_of(one), "call": "__iter__", "asked": self._requests.digest((), {})}
        found = self._observed(line, lambda: list(target_of(one)))
        return iter(self._answer(line, found))

    def attribute(self, one: StandIn, name: str) -> Any:
        """Return the value of an attribute, and record it; a method becomes a call."""
        line = {"of": number_of(one), "call": name}
        found = self._observed(line, lambda: getattr(target_of(one), name))
        if callable(found):
            return lambda *args, **kwargs: self.call(one, name, args, kwargs)
        return self._answer(line, found)

    def draw(self, make: Callable[[], Any]) -> Any:
        """Return a value that differs in each run, and record it if the check itself wants it."""
        found = make()
        if not getattr(self._inside, "calls", 0):
            self._write({"drew": encode(found)})
        return found

    def _observed(self, line: dict[str, Any], act: Callable[[], Any]) -> Any:
        """Return what an act on the object behind returns, or record what it raises."""
        self._inside.calls = getattr(self._inside, "calls", 0) + 1
        try:
            return act()
        except Exception as error:
            self._last.pop((line["of"], line["call"], line.get("asked")), None)
            self._write({**line, "raised": encode_error(error)})
            raise
        finally:
            self._inside.calls -= 1

    def _answer(self, line: dict[str, Any], found: Any) -> Any:
        """Write an answer, and return what the check gets."""
        with self._lock:
            gave, value = self._given(found)
            key = (line["of"], line["call"], line.get("asked"))
            text = json.dumps(gave, sort_keys=True)
            same = self._last.get(key) == text
            self._last[key] = text
            self._write({**line, "same": True} if same else {**line, "gave": gave})
        return value

    def _given(self, found: Any) -> tuple[Any, Any]:
        """Return an answer as JSON, and as the check gets it."""
        try:
            return encode(found, self._rows), found
        except NotAValueError:
            pass
        if isinstance(found, list | tuple) and not hasattr(found, "_fields"):
            both = [self._given(one) for one in found]
            gave: Any = [one for one, _ in both]
            gave = gave if isinstance(found, list) else {KIND: "tuple", "is": gave}
            return gave, type(found)(value for _, value in both)
        if type(found) is dict:
            pairs = [(encode(name), *self._given(one)) for name, one in found.items()]
            values = dict(zip(found, (value for *_, value in pairs), strict=True))
            return {KIND: "mapping", "is": [[name, gave] for name, gave, _ in pairs]}, values
        if not is_from(type(found), STOOD_FOR):
            return {KIND: "other", "is": type(found).__qualname__}, found
        own = self._stand_in(found)
        return {KIND: "object", "is": number_of(own)}, own

    def _stand_in(self, target: Any) -> StandIn:
        """Return the stand-in for an object; the same for the same one."""
        if isinstance(target, StandIn):
            return target
        number = self._numbers.setdefault(id(target), len(self._objects))
        if number == len(self._objects):
            self._objects.append(StandIn(self, target, number))
        return self._objects[number]

    def _rows(self, found: Rows) -> Rows:
        """Return rows without the values of columns that have names of secrets."""
        rows, _ = self._recorder.redactor.redact_rows(found.columns, found.rows, place=self._place)
        return Rows(columns=found.columns, rows=rows, count=found.count)

    def _write(self, line: dict[str, Any]) -> None:
        """Append a line.

        Raises:
            NotWritableError: it could not be written.

        """
        clean, _ = self._recorder.redactor.redact_json(line, place=self._place)
        content = encodable(f"{json.dumps(clean, ensure_ascii=False)}\n").encode()
        with self._lock:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                # A check that runs once more, as a plugin may repeat it, replaces them.
                with self._path.open("ab" if self._begun else "wb", buffering=0) as file:
                    file.write(content)
                self._begun = True
            except OSError as error:
                problem = not_writable(self._path, error, what="answers", needed=len(content))
                self._recorder.lose(problem)
                raise problem from error


class StandIn:
    """Stands for an object that a check asks; `number_of` and `target_of` look behind it."""

    __slots__ = ("__gateproof__",)

    def __init__(self, boundary: Boundary, target: Any, number: int) -> None:
        object.__setattr__(self, "__gateproof__", (boundary, target, number))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own protocols, such as that of copies
            return getattr(target_of(self), name)
        return _boundary(self).attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(target_of(self), name, _targets(value))

    def __enter__(self) -> Any:
        return _boundary(self).call(self, "__enter__", (), {})

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return _boundary(self).leave(self, kind, error, trace)

    def __iter__(self) -> Iterator[Any]:
        return _boundary(self).elements(self)

    def __len__(self) -> int:
        return int(_boundary(self).call(self, "__len__", (), {}))

    def __getitem__(self, key: Any) -> Any:
        return _boundary(self).call(self, "__getitem__", (key,), {})

    def __contains__(self, key: Any) -> bool:
        return bool(_boundary(self).call(self, "__contains__", (key,), {}))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object behind."""
        return _boundary(self).call(self, "__call__", args, kwargs)

    def __bool__(self) -> bool:
        return bool(target_of(self))

    def __str__(self) -> str:
        return str(target_of(self))

    def __repr__(self) -> str:
        return repr(target_of(self))


def number_of(value: Any) -> int | None:
    """Return the number of the object behind a stand-in; None for any other value."""
    return value.__gateproof__[2] if isinstance(value, StandIn) else None


def target_of(one: StandIn) -> Any:
    """Return the object behind a stand-in."""
    return one.__gateproof__[1]


def _boundary(one: StandIn) -> Boundary:
    boundary: Boundary = one.__gateproof__[0]
    return boundary


def _targets(value: Any) -> Any:
    """Return an argument with the objects behind its stand-ins."""
    if isinstance(value, StandIn):
        return target_of(value)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_targets(one) for one in value)
    if type(value) is dict:
        return {name: _targets(one) for name, one in value.items()}
    return value
