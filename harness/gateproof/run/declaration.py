"""Declares checks: the criterion that a check judges and the falsifiers that break its claim."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest

from gateproof.description.need import Need, parse_needs, unmet
from gateproof.description.sut import Sut
from gateproof.faults.interface import Fault, slug_of
from gateproof_evidence.errors import BadInputError

LIMIT_S = 90.0
"""Default for the overall limit of a check, in seconds; longer than the deadlines of its waits."""


SHORTEST = 10
"""The least number of characters of a predicted text, without repeated spaces."""

# fmt: off
HOUSE_WORDS = frozenset((
    "a", "an", "and", "as", "at", "but", "by", "expected", "for", "from", "got", "has", "have",
    "in", "is", "it", "its", "least", "most", "no", "none", "not", "of", "on", "one", "only",
    "or", "other", "premise", "same", "than", "that", "the", "then", "there", "to", "two",
    "was", "were", "which", "with", "without", "false", "true", "null",
))
# fmt: on
"""Words that any finding may have, by the form of our messages: a prediction of these alone is met
by any finding, and so shows nothing."""


ANY = "*"
"""Stands for any text in the object of a predicted claim."""


Expect = str | tuple[str, str] | tuple[str, str, str]
"""The finding that a fault must cause, as a declaration states it; see `falsified_by`."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The finding that a fault must cause: a claim that does not hold."""

    text: str = ""
    """A part of the claim in words: of its name, object or values."""
    claim: str = ""
    """The name of the claim; empty if only a part of its words is predicted."""
    on: str = ""
    """The object of the claim; ``*`` stands for any text."""

    @classmethod
    def of(cls, expect: Expect) -> Prediction:
        """Return the prediction that a declaration states."""
        if isinstance(expect, str):
            return cls(text=expect)
        claim, on, *text = expect
        return cls(claim=claim, on=on, text=text[0] if text else "")


@dataclass(frozen=True, kw_only=True)
class Falsifier:
    """A fault, and the finding that it must cause."""

    fault: Fault
    expect: Prediction


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The declaration of one check."""

    criterion: str
    limit_s: float
    falsifiers: tuple[Falsifier, ...]
    needs: tuple[Need, ...] = ()
    """The features of the system without which the check cannot judge."""

    def within(self, environment: str) -> Declaration:
        """Return the declaration with only the falsifiers that an environment supports."""
        supported = (one for one in self.falsifiers if environment in one.fault.environments)
        return replace(self, falsifiers=tuple(supported))


def criterion(
    identifier: str, *, needs: str | tuple[str, ...] = (), limit_s: float = LIMIT_S
) -> pytest.MarkDecorator:
    """Bind a check to one criterion of the catalogue.

    Args:
        identifier: the criterion's id, such as ``RLS-02``.
        needs: the keys of the description, in dots, that the check reads, such as ``tenancy`` or
            ``dead_letters.columns.args``; ``broker.kind=sqla`` needs a value too. Without one of
            them, the check and its proofs do not run: the criterion is `notapplicable` where a
            person declared the feature absent or it has another value, else `notdescribed`. Write
            literals, so that ``gateproof doctor`` can read them without importing the check.
        limit_s: overall limit of the check in seconds; exceeding it is inconclusive, not a fail.

    """
    return pytest.mark.criterion(identifier, needs=needs, limit_s=limit_s)


def falsified_by(fault: Fault, *, expect: Expect) -> pytest.MarkDecorator:
    """Declare a fault under which the check's claim is false.

    Args:
        fault: the change to a throw-away copy of the system.
        expect: the claim that must not hold then: its name and its object, and optionally a part of
            its values in words, such as ``got 0``. In the object ``*`` stands for any text, if the
            fault has a target, which the object of the finding must then name. A text alone is a
            part of any claim that must not hold, in words (``name: object: got …, expected …``):
            ten characters or more, and at least one word that is not in `HOUSE_WORDS`. An
            assertion that fails is no claim, and proves nothing.

    """
    return pytest.mark.falsified_by(Falsifier(fault=fault, expect=Prediction.of(expect)))


T = TypeVar("T")

DESCRIBED: pytest.StashKey[Sut] = pytest.StashKey()
"""The description of the system, from which falsifiers are generated at collection."""


@dataclass(frozen=True, kw_only=True)
class Generator:
    """Makes falsifiers from the description of the system."""

    objects: Callable[[Sut], Iterable[Any]]
    make: Callable[[Sut, Any], tuple[Fault, Expect]]

    def falsifiers(self, sut: Sut) -> Iterator[Falsifier]:
        """Yield a falsifier for each object, each under a name of its own."""
        objects = list(self.objects(sut))
        made = [self.make(sut, one) for one in objects]
        names = Counter(fault.name for fault, _ in made)
        for one, (fault, expect) in zip(objects, made, strict=True):
            if names[fault.name] > 1:
                name = slug_of(fault.name, repr(one), distinct=True)
                fault = replace(fault, name=name)
            yield Falsifier(fault=fault, expect=Prediction.of(expect))


def falsified_by_each(
    objects: Callable[[Sut], Iterable[T]], make: Callable[[Sut, T], tuple[Fault, Expect]]
) -> pytest.MarkDecorator:
    """Declare a falsifier for each of several objects that the description names.

    The falsifiers are made at collection. Without an object there is none.

    Args:
        objects: returns the objects, such as the tables of tenants; their `repr` must be stable.
        make: returns the fault for one object, and the finding that it must cause, as in
            `falsified_by`. Faults of one name get a digest of the object as suffix.

    """
    return pytest.mark.falsified_by(Generator(objects=objects, make=make))


_DECLARATION: pytest.StashKey[Declaration] = pytest.StashKey()
"""The declaration of an item: read at collection and at each stage of the item."""


def read_declaration(item: pytest.Item) -> Declaration | None:
    """Return the declaration of an item, or None if it has no criterion.

    Raises:
        BadInputError: more than one criterion, a need that no description can have, a falsifier
            whose predicted text is too general, or two falsifiers of one name.

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
    needs = _needs(item, marks[0])
    criterion = str(marks[0].args[0])
    falsifiers = tuple(one for each in marked for one in _made(item, each, criterion, needs))
    _refuse_bad(item, falsifiers)
    found = Declaration(
        criterion=criterion,
        limit_s=float(marks[0].kwargs.get("limit_s", LIMIT_S)),
        falsifiers=falsifiers,
        needs=needs,
    )
    item.stash[_DECLARATION] = found
    return found


def _needs(item: pytest.Item, mark: pytest.Mark) -> tuple[Need, ...]:
    try:
        return parse_needs(mark.kwargs.get("needs", ()))
    except BadInputError as error:
        raise BadInputError(f"{item.nodeid}: {error}") from error


def _made(
    item: pytest.Item, declared: Falsifier | Generator, criterion: str, needs: tuple[Need, ...]
) -> Iterable[Falsifier]:
    """Return the declared falsifiers; none are generated from what the system does not have."""
    if isinstance(declared, Falsifier):
        return (declared,)
    sut = item.config.stash.get(DESCRIBED, None)
    if sut is None or unmet(sut, criterion, needs) is not None:
        return ()
    return declared.falsifiers(sut)


def is_specific(expect: str) -> bool:
    """Return whether a predicted text can tell one finding from another.

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
        problem = _too_general(falsifier)
        if problem:
            raise BadInputError(f"{item.nodeid}: falsifier {name}: {problem}")
        if name in seen:
            raise BadInputError(
                f"{item.nodeid}: falsifier name: got {name} twice, expected each name once"
            )
        seen.add(name)


def _too_general(falsifier: Falsifier) -> str:
    """Return why a prediction tells no finding from another; empty if it does."""
    expect = falsifier.expect
    if not expect.claim:
        if is_specific(expect.text):
            return ""
        return (
            f"predicted text: got {expect.text!r}, expected {SHORTEST} characters or more with "
            "a word that only this finding has; quote the part of it that names the object and "
            "the value"
        )
    if ANY in expect.on and not falsifier.fault.target:
        return (
            f"predicted object: got {expect.on!r}, expected one without {ANY}, because the fault "
            "has no target; name the object, or give the fault a target"
        )
    return ""
