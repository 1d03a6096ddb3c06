"""Puts the statements of checks that were played back in place of the recorded ones.

Owns which records a playback replaces, and the differences between the statements. Leaves playing
back to the package that runs checks, and verdicts to `gateproof_evidence.judging.rejudgement`.
Pure.

A check that could not be played back keeps its records.

Source: docs/reference/playback.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from gateproof_evidence.judging.claim import claim_text
from gateproof_evidence.judging.verdict import CHECK
from gateproof_evidence.model import (
    Claim,
    ClaimEvent,
    PhaseEvent,
    PremiseEvent,
    Record,
)

REDACTED = "its statements differ, but it got answers from which secrets had been removed"
NO_CHECK = "the folder has no check of this criterion with the recorded name"


@dataclass(frozen=True, kw_only=True)
class PlayedBack:
    """The result of a playback."""

    records: tuple[Record, ...]
    """The statements of the checks, and how each ended: claims, premises and stages."""
    reasons: Mapping[str, str]
    """Maps each item that could not be played back to the reason."""
    redacted: frozenset[str] = frozenset()
    """The items that got an answer from which something was redacted."""


@dataclass(frozen=True, kw_only=True)
class Playback:
    """A journal whose checks were played back where that was possible."""

    records: tuple[Record, ...]
    criteria: tuple[str, ...]
    """The criteria whose checks were played back, in the order of the catalogue."""
    others: Mapping[str, str]
    """Maps each criterion whose check ran and was not played back to the reason."""
    not_run: tuple[str, ...]
    """The criteria whose checks this run did not run, or took over from an earlier bundle."""
    changes: Mapping[str, tuple[str, ...]]
    """Maps a criterion to what its check states otherwise than it did, in words."""


def replace_played(
    criteria: Sequence[str], records: Sequence[Record], played: PlayedBack
) -> Playback:
    """Replace the records of checks by those of their playback.

    Args:
        criteria: the ids of the catalogue.
        records: the journal of the run.
        played: the result of the playback.

    """
    before = dict(_by_item(records))
    reasons = dict(played.reasons)
    complete, changes = {}, {}
    for item, own in _by_item(played.records):
        changed = tuple(_changes(before.get(item, ()), own))
        if changed and item in played.redacted:
            reasons.setdefault(item, REDACTED)
        if item not in reasons and _calls(own):
            complete[item] = own
            if changed:
                changes[str(own[0].criterion)] = changed
    items = _items(records)
    others = _others(criteria, items, complete, reasons)
    not_run = tuple(one for one in criteria if not items[one])
    kept = {item: own for item, own in complete.items() if own[0].criterion not in others}
    changes = {name: changed for name, changed in changes.items() if name not in others}
    return Playback(
        records=tuple(_replaced(records, kept)),
        criteria=tuple(one for one in criteria if one not in others and one not in not_run),
        others=others,
        not_run=not_run,
        changes=changes,
    )


_OfCheck = ClaimEvent | PremiseEvent | PhaseEvent


def _by_item(records: Iterable[Record]) -> Iterator[tuple[str, tuple[_OfCheck, ...]]]:
    """Yield the records of each check that a playback replaces."""
    found: dict[str, list[_OfCheck]] = defaultdict(list)
    for one in records:
        if _is_replaced(one):
            found[one.item].append(one)
    return iter((item, tuple(own)) for item, own in found.items())


def _is_replaced(one: Record) -> TypeGuard[_OfCheck]:
    if isinstance(one, PhaseEvent):
        return one.part == CHECK and one.when == "call"
    return isinstance(one, ClaimEvent | PremiseEvent) and one.part == CHECK


def _calls(own: Iterable[Record]) -> tuple[PhaseEvent, ...]:
    return tuple(one for one in own if isinstance(one, PhaseEvent))


def _items(records: Sequence[Record]) -> Mapping[str, set[str]]:
    """Return the items of the checks that ran, by criterion."""
    found: dict[str, set[str]] = defaultdict(set)
    for call in _calls(one for one in records if _is_replaced(one)):
        found[str(call.criterion)].add(call.item)
    return found


def _others(
    criteria: Sequence[str],
    items: Mapping[str, set[str]],
    again: Mapping[str, Sequence[_OfCheck]],
    reasons: Mapping[str, str],
) -> Mapping[str, str]:
    """Return the criteria that were not played back as a whole, with the reason."""
    missing = {
        criterion: [item for item in sorted(items[criterion]) if item not in again]
        for criterion in criteria
    }
    return {one: reasons.get(own[0], NO_CHECK) for one, own in missing.items() if own}


def _replaced(
    records: Sequence[Record], again: Mapping[str, Sequence[_OfCheck]]
) -> Iterator[Record]:
    """Yield the journal with the records of playbacks between the stages of their items."""
    setups = {
        one.item: one
        for one in records
        if isinstance(one, PhaseEvent) and one.part == CHECK and one.when == "setup"
    }
    for one in records:
        if not _is_replaced(one) or one.item not in again:
            yield one
        elif isinstance(one, PhaseEvent):
            # The stages say between which numbers the check itself has stated something.
            first = setups[one.item].seq if one.item in setups else one.seq - 2
            for new in again[one.item]:
                is_call = isinstance(new, PhaseEvent)
                seq = max(one.seq, first + 2) if is_call else first + 1
                place = {"writer": one.writer, "seq": seq, "at": one.at}
                timed = {"duration_s": one.duration_s} if is_call else {}
                yield new.model_copy(update={**place, **timed})


def _changes(before: Sequence[_OfCheck], after: Sequence[_OfCheck]) -> Iterator[str]:
    """Yield what a check states otherwise than it did."""
    old, new = _statements(before), _statements(after)
    for text in _surplus(old, new):
        yield f"only recorded: {text}"
    for text in _surplus(new, old):
        yield f"only played back: {text}"


def _statements(own: Sequence[_OfCheck]) -> list[str]:
    return [_text(one) for one in own if isinstance(one, ClaimEvent | PremiseEvent)]


def _text(one: ClaimEvent | PremiseEvent) -> str:
    """Return a statement in words."""
    claim = Claim(
        name=one.name,
        on=one.on,
        got=one.got,
        relation=one.relation,
        expected=one.expected,
        holds=one.holds,
    )
    kind = "premise" if isinstance(one, PremiseEvent) else "claim"
    return f"{kind} {claim_text(claim)}: {'true' if one.holds else 'false'}"


def _surplus(some: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the texts that the first list has more often than the second, in their order."""
    left = list(others)
    found = []
    for text in some:
        if text in left:
            left.remove(text)
        else:
            found.append(text)
    return found
