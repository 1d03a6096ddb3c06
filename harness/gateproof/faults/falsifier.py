"""A falsifier: a fault, and the finding that it must cause.

Owns predictions, and the refusal of those that any failure would meet. Leaves the places where
falsifiers are declared to `gateproof.run.declaration` and `gateproof.faults.described`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from gateproof.faults.interface import Fault

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


def is_specific(expect: str) -> bool:
    """Return whether a predicted text can tell one finding from another.

    Compared are compatibility forms without case, so that look-alike characters of other widths do
    not count as words of their own.
    """
    text = " ".join(unicodedata.normalize("NFKC", expect).casefold().split())
    words = re.findall(r"[^\W\d_]{2,}", text)
    return len(text) >= SHORTEST and any(word not in HOUSE_WORDS for word in words)


def too_general(falsifier: Falsifier) -> str:
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
