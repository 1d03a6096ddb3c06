"""Declares checks: the criterion that a check judges and the falsifiers that break its claim.

Owns what stands next to a check, and adds the falsifiers that the system has of its own. Leaves
their file to `gateproof.faults.described`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateproof.description.need import Need, parse_needs, unmet
from gateproof.description.sut import Sut
from gateproof.faults.described.file import OwnFalsifiers
from gateproof.faults.falsifier import Expect, Falsifier, Prediction, too_general
from gateproof.faults.interface import Fault, slug_of
from gateproof_evidence.errors import BadInputError

LIMIT_S = 90.0
"""Default for the overall limit of a check, in seconds; longer than the deadlines of its waits."""


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

OWN: pytest.StashKey[OwnFalsifiers] = pytest.StashKey()
"""The falsifiers of the system's own file, which are added at collection."""


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
    near = tuple(one for each in marked for one in _made(item, each, criterion, needs))
    own = item.config.stash.get(OWN, OwnFalsifiers())
    _refuse_bad(item, near, own.of(criterion), own.path)
    found = Declaration(
        criterion=criterion,
        limit_s=float(marks[0].kwargs.get("limit_s", LIMIT_S)),
        falsifiers=(*near, *own.of(criterion)),
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


def _refuse_bad(
    item: pytest.Item, near: Iterable[Falsifier], own: Iterable[Falsifier], path: Path | None
) -> None:
    """Refuse bad falsifiers next to the check, and a second one of a name there or in the file.

    Raises:
        BadInputError: a prediction is too general, or a name occurs twice.

    """
    seen: set[str] = set()
    for falsifier in near:
        name = falsifier.fault.name
        problem = too_general(falsifier)
        if problem:
            raise BadInputError(f"{item.nodeid}: falsifier {name}: {problem}")
        if name in seen:
            raise BadInputError(
                f"{item.nodeid}: falsifier name: got {name} twice, expected each name once"
            )
        seen.add(name)
    twice = sorted(seen & {one.fault.name for one in own})
    if twice:
        raise BadInputError(
            f"{item.nodeid}: falsifier name: got {', '.join(twice)} next to the check and in "
            f"{path}, expected each name once; rename it in the file"
        )
