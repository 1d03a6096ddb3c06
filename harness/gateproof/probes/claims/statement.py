"""Records a comparison of an observed value with an expected one, redacted, in the journal.

Owns the conversion of values to JSON. Leaves the relations to `gateproof_evidence.judging.claim`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from gateproof.base.errors import HarnessError
from gateproof.probes.recorder import active_recorder, plain
from gateproof_evidence.judging.claim import (
    claim_name,
    false_claims,
    relation_holds,
    values_text,
)
from gateproof_evidence.model import Claim, ClaimEvent, PremiseEvent, Relation


def compare(
    name: str, *, on: str, got: Any, relation: Relation, expected: Any, over: int | None = None
) -> Claim:
    """Compare two values as JSON and return the result with the unredacted values.

    Args:
        name: the observed property.
        on: the object that was observed.
        got: the observed value; a set becomes a sorted list, a dataclass a mapping, any other value
            that JSON lacks becomes text.
        relation: the relation that it must have to the other value.
        expected: the value to compare it with.
        over: the number of objects that the comparison is about; None for one object.

    Raises:
        HarnessError: the relation does not exist between such values.

    """
    seen, wanted = _json(got), _json(expected)
    try:
        holds = relation_holds(relation, json.loads(seen), json.loads(wanted))
    except TypeError as error:
        what = f"{name}: {on}" if on else name
        raise HarnessError(
            f"{what}: relation {relation}: got {got!r} and {expected!r}, expected values that can "
            f"be compared by it ({error}); choose another relation, or compare a count"
        ) from error
    return Claim(
        name=name, on=on, got=seen, relation=relation, expected=wanted, over=over, holds=holds
    )


class PredictionMetError(BaseException):
    """Ends a check under a fault: it has the finding that the falsifier predicted.

    Not an `Exception`, so that no handler of the check takes it for an error of the system.
    """


Until = Callable[[Claim], bool]
"""Returns whether a false claim ends the check."""


def record(kind: type[PremiseEvent | ClaimEvent], claim: Claim) -> None:
    """Write a statement to the journal of the item that runs; outside of an item, do nothing.

    Raises:
        HarnessError: the statement holds, and would not between its redacted values.

    """
    recorder = active_recorder()
    if recorder is None or recorder.scope.item is None:
        return
    got, expected = recorder.clean_compared(claim.got, claim.expected)
    if claim.holds and not _still_holds(claim.relation, got, expected):
        raise HarnessError(
            f"{recorder.clean(claim_name(claim))}: got values that redaction changes, expected "
            "ones that can be judged again from the record; compare a count or a truth value"
        )
    fields = {} if kind is PremiseEvent else {"over": claim.over}
    event = recorder.journal.append(
        kind,
        item=recorder.scope.item,
        criterion=recorder.scope.criterion,
        part=recorder.scope.part,
        name=recorder.clean(claim.name),
        on=recorder.clean(claim.on),
        got=got,
        relation=claim.relation,
        expected=expected,
        holds=claim.holds,
        **fields,
    )
    if isinstance(event, ClaimEvent):
        for collection in _COLLECTED:
            collection.events.append(event)


def end_if_predicted() -> None:
    """End the check if its last claim is the finding that its falsifier predicted.

    The rest of the check would only cost time: a check with a false claim fails, whatever follows.
    A thread of the check continues, because only its main thread can end it.

    Raises:
        PredictionMetError: it is.

    """
    if threading.current_thread() is not threading.main_thread():
        return
    for collection in _COLLECTED:
        if collection.is_met():
            raise PredictionMetError


@contextmanager
def recorded_claims(until: Until | None = None) -> Iterator[list[ClaimEvent]]:
    """Return a list to which every claim is added that is recorded in the block.

    Args:
        until: returns whether a false claim ends the check; None if it runs to its end.

    """
    collection = _Collection(until=until)
    _COLLECTED.append(collection)
    try:
        yield collection.events
    finally:
        _COLLECTED.pop()


@dataclass(kw_only=True)
class _Collection:
    """The claims that are recorded in a block."""

    until: Until | None
    events: list[ClaimEvent] = field(default_factory=list)

    def is_met(self) -> bool:
        """Return whether the last claim ends the check."""
        if self.until is None or not self.events:
            return False
        return any(map(self.until, false_claims(self.events[-1:])))


_COLLECTED: list[_Collection] = []


def describe(claim: Claim) -> str:
    """Return a statement in one line: name, object, observed value and expected value."""
    return f"{claim_name(claim)}: {values_text(claim)}"


def _still_holds(relation: Relation, got: str, expected: str) -> bool:
    try:
        return relation_holds(relation, json.loads(got), json.loads(expected))
    except (TypeError, ValueError):
        return False


def _json(value: Any) -> str:
    return json.dumps(plain(_ordered(value)), ensure_ascii=False)


def _ordered(value: Any) -> Any:
    """Return a value without sets and dataclasses, at any depth."""
    if isinstance(value, set | frozenset):
        return sorted((_ordered(one) for one in value), key=str)
    if isinstance(value, list | tuple):
        return [_ordered(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _ordered(inner) for key, inner in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return _ordered(asdict(value))
    return value
