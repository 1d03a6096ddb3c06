"""Declares checks: the criterion that a check judges and the falsifiers that break its claim."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest

from gateproof.base.sut import Sut
from gateproof.faults.interface import Fault, slug_of
from gateproof_evidence.errors import BadInputError

LIMIT_S = 90.0
"""Default for the overall limit of a check, in seconds; longer than the deadlines of its waits."""


SHORTEST = 10
"""The least number of characters of a predicted message, without repeated spaces."""

# fmt: off
HOUSE_WORDS = frozenset((
    "a", "an", "and", "as", "at", "but", "by", "expected", "for", "from", "got", "has", "have",
    "in", "is", "it", "its", "least", "most", "no", "none", "not", "of", "on", "one", "only",
    "or", "other", "premise", "same", "than", "that", "the", "then", "there", "to", "two",
    "was", "were", "which", "with", "without", "false", "true", "null",
))
# fmt: on
"""Words that the message of any check may have, by the form of our messages: a prediction of these
alone is met by any failure, and so shows nothing."""


@dataclass(frozen=True, kw_only=True)
class Falsifier:
    """A fault, and the part of the check's message that it must cause."""

    fault: Fault
    expect: str


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The declaration of one check."""

    criterion: str
    limit_s: float
    falsifiers: tuple[Falsifier, ...]

    def within(self, environment: str) -> Declaration:
        """Return the declaration with only the falsifiers that an environment supports."""
        supported = (one for one in self.falsifiers if environment in one.fault.environments)
        return replace(self, falsifiers=tuple(supported))


def criterion(identifier: str, *, limit_s: float = LIMIT_S) -> pytest.MarkDecorator:
    """Bind a check to one criterion of the catalogue.

    Args:
        identifier: the criterion's id, such as ``RLS-02``.
        limit_s: overall limit of the check in seconds; exceeding it is inconclusive, not a fail.

    """
    return pytest.mark.criterion(identifier, limit_s=limit_s)


def falsified_by(fault: Fault, *, expect: str) -> pytest.MarkDecorator:
    """Declare a fault under which the check's claim is false.

    Args:
        fault: the change to a throw-away copy of the system.
        expect: a part of the message with which the check must then fail: ten characters or more,
            and at least one word that is not in `HOUSE_WORDS`.

    """
    return pytest.mark.falsified_by(Falsifier(fault=fault, expect=expect))


T = TypeVar("T")

DESCRIBED: pytest.StashKey[Sut] = pytest.StashKey()
"""The description of the system, from which falsifiers are generated at collection."""


@dataclass(frozen=True, kw_only=True)
class Generator:
    """Makes falsifiers from the description of the system."""

    objects: Callable[[Sut], Iterable[Any]]
    make: Callable[[Sut, Any], tuple[Fault, str]]

    def falsifiers(self, sut: Sut) -> Iterator[Falsifier]:
        """Yield a falsifier for each object, each under a name of its own."""
        objects = list(self.objects(sut))
        made = [self.make(sut, one) for one in objects]
        names = Counter(fault.name for fault, _ in made)
        for one, (fault, expect) in zip(objects, made, strict=True):
            if names[fault.name] > 1:
                name = slug_of(fault.name, repr(one), distinct=True)
                fault = replace(fault, name=name)
            yield Falsifier(fault=fault, expect=expect)


def falsified_by_each(
    objects: Callable[[Sut], Iterable[T]], make: Callable[[Sut, T], tuple[Fault, str]]
) -> pytest.MarkDecorator:
    """Declare a falsifier for each of several objects that the description names.

    The falsifiers are made at collection. Without an object there is none.

    Args:
        objects: returns the objects, such as the tables of tenants; their `repr` must be stable.
        make: returns the fault for one object, and a part of the message with which the check must
            then fail, as in `falsified_by`. Faults of one name get a digest of the object as
            suffix.

    """
    return pytest.mark.falsified_by(Generator(objects=objects, make=make))


_DECLARATION: pytest.StashKey[Declaration] = pytest.StashKey()
"""The declaration of an item: read at collection and at each stage of the item."""


def read_declaration(item: pytest.Item) -> Declaration | None:
    """Return the declaration of an item, or None if it has no criterion.

    Raises:
        BadInputError: more than one criterion, a falsifier whose predicted message is too general,
            or two falsifiers of one name.

    """
    known = item.stash.get(_DECLARATION, None)
    if known is not None:
        return known
    marks = list(item.iter_markers("criterion"))
    if not marks:
        return None
    if len(marks) > 1:
        names = ", ".join(str(mark.args[0]) for mark in marks)
        raise BadInputError(f"{item.nodeid}: criterion: got {names}, expected one id per check")
    marked = [mark.args[0] for mark in reversed(list(item.iter_markers("falsified_by")))]
    falsifiers = tuple(one for each in marked for one in _made(item, each))
    _refuse_bad(item, falsifiers)
    found = Declaration(
        criterion=str(marks[0].args[0]),
        limit_s=float(marks[0].kwargs.get("limit_s", LIMIT_S)),
        falsifiers=falsifiers,
    )
    item.stash[_DECLARATION] = found
    return found


def _made(item: pytest.Item, declared: Falsifier | Generator) -> Iterable[Falsifier]:
    if isinstance(declared, Falsifier):
        return (declared,)
    sut = item.config.stash.get(DESCRIBED, None)
    return () if sut is None else declared.falsifiers(sut)


def is_specific(expect: str) -> bool:
    """Return whether a predicted message can tell one failure from another.

    Compared are compatibility forms without case, so that look-alike characters of other widths do
    not count as words of their own.
    """
    text = " ".join(unicodedata.normalize("NFKC", expect).casefold().split())
    words = re.findall(r"[^\W\d_]{2,}", text)
    return len(text) >= SHORTEST and any(word not in HOUSE_WORDS for word in words)


def _refuse_bad(item: pytest.Item, falsifiers: tuple[Falsifier, ...]) -> None:
    seen: set[str] = set()
    for falsifier in falsifiers:
        name = falsifier.fault.name
        if not is_specific(falsifier.expect):
            raise BadInputError(
                f"{item.nodeid}: falsifier {name}: predicted message: got {falsifier.expect!r}, "
                f"expected {SHORTEST} characters or more with a word that only this failure has; "
                "quote the part of the check's message that names the object and the finding"
            )
        if name in seen:
            raise BadInputError(
                f"{item.nodeid}: falsifier name: got {name} twice, expected each name once"
            )
        seen.add(name)
