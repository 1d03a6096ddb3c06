"""A premise: a condition that must hold before a check can judge its claim.

A premise that does not hold ends the check, which is then inconclusive and never a violation: the
claim was not judged. Every premise is a record of the journal, whether it holds or not.

Source: docs/reference/verdicts.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gateproof.base.errors import PremiseError
from gateproof.probes.recorder import active_recorder, plain
from gateproof_evidence.model import PremiseEvent, Relation

_HOLDS: Mapping[Relation, Callable[[Any, Any], bool]] = {
    "equals": lambda got, expected: bool(got == expected),
    "at_least": lambda got, expected: bool(got >= expected),
    "at_most": lambda got, expected: bool(got <= expected),
    "contains": lambda got, expected: expected in got,
}
_WORDS: Mapping[Relation, str] = {
    "equals": "",
    "at_least": "at least ",
    "at_most": "at most ",
    "contains": "one with ",
}


def premise(
    name: str, *, got: Any, expected: Any, on: str = "", relation: Relation = "equals"
) -> None:
    """Continue only if a condition holds that is not the claim itself.

    Use it for everything that a check needs: seeded rows, a worker that runs, objects to judge. A
    check over objects that it discovered states how many there are, with `relation` `at_least`:
    a claim about no object shows nothing.

    Args:
        name: what must hold, such as ``rows that the superuser sees``.
        got: the observed value: plain values, or lists and mappings of them; others become text.
        expected: the value to compare it with.
        on: the object that was observed, such as a table; empty if the name says it.
        relation: ``equals``, ``at_least``, ``at_most``, or ``contains``: `got` has the element or
            part `expected`.

    Raises:
        PremiseError: the condition does not hold.

    """
    holds = _HOLDS[relation](got, expected)
    _record(name, on, got, relation, expected, holds=holds)
    if not holds:
        what = f"{name}: {on}" if on else name
        raise PremiseError(
            f"premise: {what}: got {_text(got)}, expected {_WORDS[relation]}{_text(expected)}"
        )


def _record(
    name: str, on: str, got: Any, relation: Relation, expected: Any, *, holds: bool
) -> None:
    recorder = active_recorder()
    if recorder is None or recorder.scope.item is None:  # outside of a run, or of an item
        return
    recorder.journal.append(
        PremiseEvent,
        item=recorder.scope.item,
        criterion=recorder.scope.criterion,
        part=recorder.scope.part,
        name=recorder.clean(name),
        on=recorder.clean(on),
        got=recorder.clean(_json(got)),
        relation=relation,
        expected=recorder.clean(_json(expected)),
        holds=holds,
    )


def _json(value: Any) -> str:
    """Return a value as JSON text; the elements of a set are sorted."""
    return json.dumps(plain(_ordered(value)), ensure_ascii=False)


def _text(value: Any) -> str:
    value = _ordered(value)
    if isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _ordered(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else value
