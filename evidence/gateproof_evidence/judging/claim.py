"""The rules that judge claims: whether a relation holds, and which finding was predicted.

Pure: values are JSON values, as a journal records them, so that a claim can be judged again from
its record. Leaves stating claims to the harness.

Source: docs/reference/verdicts.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gateproof_evidence.model import Claim, ClaimEvent, Relation, Story

_HOLDS: Mapping[Relation, Callable[[Any, Any], bool]] = {
    "equals": lambda got, expected: bool(got == expected) and _same_kind(got, expected),
    "differs": lambda got, expected: not _HOLDS["equals"](got, expected),
    "one_of": lambda got, expected: any(_HOLDS["equals"](got, one) for one in _list(expected)),
    "at_least": lambda got, expected: _number(got) >= _number(expected),
    "at_most": lambda got, expected: _number(got) <= _number(expected),
    "contains": lambda got, expected: expected in got,
    "lacks": lambda got, expected: expected not in got,
    "matches": lambda got, expected: re.search(expected, got) is not None,
}
_WORDS: Mapping[Relation, str] = {
    "equals": "",
    "differs": "other than ",
    "one_of": "one of ",
    "at_least": "at least ",
    "at_most": "at most ",
    "contains": "one with ",
    "lacks": "none with ",
    "matches": "a match of ",
}

UNCOMPARABLE = (TypeError, ValueError, RecursionError, OverflowError, re.error)
"""The errors of values that a relation cannot compare, of text that is no JSON or is nested too
deep, and of a regular expression that cannot be compiled: a record can have any text."""

NO_CLAIM = (
    "claims of the check: got none, expected at least one; record what the check finds with "
    "claim(...): an assertion alone leaves no record"
)
"""The message of a check that ended well and stated nothing."""


def relation_holds(relation: Relation, got: Any, expected: Any) -> bool:
    """Return whether a relation holds between two JSON values.

    Args:
        relation: one of `Relation`.
        got: the observed value.
        expected: the value to compare it with.

    Raises:
        TypeError: the relation does not exist between values of these types: ``at_least`` and
            ``at_most`` compare numbers, ``matches`` texts, ``contains`` and ``lacks`` need a list,
            a mapping or a text, and ``one_of`` a list of the expected values.

    """
    return bool(_HOLDS[relation](got, expected))


def is_false(event: ClaimEvent) -> bool:
    """Return whether a recorded claim is false.

    The relation is evaluated again: a record that only says that it holds is not believed. A claim
    that was false before its values were redacted stays false.
    """
    return not (event.holds and _holds_again(event.relation, event.got, event.expected))


@lru_cache(maxsize=4096)
def _holds_again(relation: Relation, got: str, expected: str) -> bool:
    """Return whether a relation holds between two recorded values; false if it does not exist.

    The results are kept for a while: a check states most of its claims again in each proof.
    """
    try:
        return relation_holds(relation, json.loads(got), json.loads(expected))
    except UNCOMPARABLE:
        return False


def claim_of(event: ClaimEvent) -> Claim:
    """Return the claim of a record, judged again."""
    return Claim(
        name=event.name,
        on=event.on,
        got=event.got,
        relation=event.relation,
        expected=event.expected,
        over=event.over,
        holds=not is_false(event),
    )


def claim_text(claim: Claim) -> str:
    """Return a claim in one line: name, object, observed value and expected value."""
    return f"{claim_name(claim)}: {values_text(claim)}"


def claim_name(claim: Claim) -> str:
    """Return the name of a claim with its object."""
    return f"{claim.name}: {claim.on}" if claim.on else claim.name


def values_text(claim: Claim) -> str:
    """Return the observed and the expected value in words."""
    return f"got {value_text(claim.got)}, expected {expected_text(claim)}"


def expected_text(claim: Claim) -> str:
    """Return the relation and the expected value in words."""
    return f"{_WORDS[claim.relation]}{value_text(claim.expected)}"


def value_text(value: str) -> str:
    """Return a value, given as JSON, for people: texts and lists without their marks."""
    try:
        found = json.loads(value)
    except UNCOMPARABLE:
        return value  # a redaction can break it
    if isinstance(found, list):
        return ", ".join(map(_plain, found)) or "none"
    return _plain(found)


def findings_text(findings: Sequence[Claim]) -> str:
    """Return several false claims in one line: the first one, and the number of the others."""
    others = len(findings) - 1
    more = f" (and {others} more finding{'s' if others > 1 else ''})" if others else ""
    return f"{claim_text(findings[0])}{more}"


def why_not_green(claims: Sequence[ClaimEvent]) -> str:
    """Return why a run of a check shows nothing, though it ended well; empty if it shows something.

    Args:
        claims: the claims that the check stated in that run.

    """
    false = false_claims(claims)
    if false:
        return f"it has a finding: {findings_text(false)}"
    return "" if claims else NO_CLAIM


def prediction_text(story: Story) -> str:
    """Return what a falsifier predicted: a claim, or a part of any finding in words."""
    return ": ".join(filter(None, (story.expected_claim, story.expected_on, story.expected)))


def predicted_finding(story: Story) -> Claim | None:
    """Return the false claim that a falsifier predicted, if the check had it under the fault.

    The finding has the predicted name, its object is the predicted one and names the target of the
    fault, and it contains the predicted values. Where only a text is predicted, any claim will do
    that contains it.
    """
    predicted = PredictedClaim(
        name=story.expected_claim,
        on=story.expected_on,
        text=story.expected,
        target=story.target,
    )
    return next(filter(predicted.is_met_by, story.findings), None)


@dataclass(frozen=True, kw_only=True)
class PredictedClaim:
    """The finding that a falsifier predicts, with redacted texts as in the record of its proof."""

    name: str
    """The name of the claim; empty if only a text is predicted."""
    on: str
    """The object of the claim; ``*`` stands for any text."""
    text: str
    """A part of the claim in one line."""
    target: str
    """The object that the fault changes, which the object of the claim must name; empty if none."""

    def is_met_by(self, claim: Claim) -> bool:
        """Return whether a false claim is this finding."""
        named = not self.name or (claim.name == self.name and is_object(self.on, claim.on))
        on_target = not self.target or names(self.target, claim.on)
        return named and on_target and self.text in claim_text(claim)


def is_object(pattern: str, on: str) -> bool:
    """Return whether an object is the predicted one; ``*`` stands for any text."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), on, re.DOTALL) is not None


def names(target: str, on: str) -> bool:
    """Return whether an object is a target, or has it as one of its parts between slashes."""
    return f"/{target}/" in f"/{on}/"


def false_claims(events: Iterable[ClaimEvent]) -> tuple[Claim, ...]:
    """Return the claims that do not hold, in their order."""
    return tuple(claim_of(event) for event in events if is_false(event))


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"got {value!r}, expected a number")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"expected value: got {value!r}, expected a list of the allowed values")
    return value


def _same_kind(got: Any, expected: Any) -> bool:
    """Return whether neither or both are truth values: for Python, True equals 1."""
    return isinstance(got, bool) == isinstance(expected, bool)
