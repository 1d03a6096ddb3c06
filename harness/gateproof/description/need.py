"""The needs of a criterion: the features of a description without which it cannot be judged.

Decides, before anything of a check is set up, whether a system has what the check needs. Leaves the
declaration of needs to `gateproof.run.declaration`.

Source: docs/reference/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from gateproof.base.skip import NotApplicableError, NotDescribedError
from gateproof.description.key import all_keys, find_field, nearest
from gateproof.description.sut import Sut
from gateproof_evidence.errors import BadInputError

OR = " or "
"""Stands between a need and one that serves as well."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """A key of the description that a criterion needs, and the value it needs it to have."""

    key: str
    """The key in dots: ``tenancy``, ``dead_letters.columns.args``."""
    value: str | None = None
    """The value as text, or one of a list; None if any will do."""
    instead: Need | None = None
    """Another need that serves as well."""

    @classmethod
    def parse(cls, text: str) -> Need:
        """Return a need from its text: ``key``, ``key=value``, or two of them with `OR` between.

        Raises:
            BadInputError: no description can have such a key.

        """
        first, alternative, rest = text.partition(OR)
        key, equals, value = first.partition("=")
        if not key or find_field(Sut, key.split(".")) is None:
            raise BadInputError(
                f"needs: got {first!r}, expected a key of a description such as "
                f"{nearest(key, all_keys(Sut))}, KEY=VALUE, or two of them with "
                f"{OR.strip()!r} between; correct the name"
            )
        instead = cls.parse(rest) if alternative else None
        return cls(key=key, value=value if equals else None, instead=instead)

    def is_met(self, sut: Sut) -> bool:
        """Return whether a description has the key, with the value, or what serves as well."""
        if self.instead is not None and self.instead.is_met(sut):
            return True
        if not sut.describes(self.key):
            return False
        return self.value is None or self.value in values_of(sut, self.key)

    def __str__(self) -> str:
        """Return the need as it was declared."""
        own = self.key if self.value is None else f"{self.key}={self.value}"
        return own if self.instead is None else f"{own}{OR}{self.instead}"


def values_of(sut: Sut, key: str) -> tuple[str, ...]:
    """Return the value of a described key as a text, or the texts of a list, each once."""
    return tuple(dict.fromkeys(_texts(sut.value_of(key))))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, tuple):
        for one in value:
            yield from _texts(one)
    else:
        yield str(value)


def parse_needs(texts: str | Iterable[str]) -> tuple[Need, ...]:
    """Return needs from one text or several.

    Raises:
        BadInputError: no description can have such a key.

    """
    listed = (texts,) if isinstance(texts, str) else tuple(texts)
    return tuple(Need.parse(text) for text in listed)


def unmet(sut: Sut, criterion: str, needs: Iterable[Need]) -> BaseException | None:
    """Return why a criterion cannot be judged on a system; None if it can be.

    Returns:
        A `NotApplicableError` with every reason if a person left the criterion out or declared a
        needed feature absent, or if it has another value; else a `NotDescribedError` that names
        every missing key.

    """
    for one in sut.left_out_now:
        if one.criterion == criterion:
            return NotApplicableError(one.words)
    needs = tuple(needs)
    lacking = [why for need in needs if (why := _why_not_applicable(sut, need))]
    if lacking:
        return NotApplicableError("; ".join(dict.fromkeys(lacking)))
    missing = [need.key for need in needs if not need.is_met(sut)]
    return NotDescribedError("; ".join(map(sut.unlock, missing))) if missing else None


def _why_not_applicable(sut: Sut, need: Need) -> str:
    if need.is_met(sut):
        return ""
    absent = sut.absence_of(need.key)
    if absent is not None:
        return absent.words
    if need.value is None or not sut.describes(need.key):
        return ""
    got = ", ".join(values_of(sut, need.key))
    return f"{need.key}: got {got}, expected {need.value} to judge it"


def refuse_unknown_criteria(sut: Sut, known: Collection[str]) -> None:
    """Check that every criterion that is left out, or whose check is replaced, is known.

    Raises:
        BadInputError: one is not; the message has the nearest ids.

    """
    decisions = (("left_out", sut.left_out), ("replaced", sut.replaced))
    for key, criterion in ((key, one.criterion) for key, listed in decisions for one in listed):
        if criterion not in known:
            raise BadInputError(
                f"{sut.path}: {key}: criterion: got {criterion}, expected an id of the catalogue "
                f"such as {nearest(criterion, sorted(known))}; correct it or remove the decision"
            )
