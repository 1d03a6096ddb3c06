"""A claim that a check states: an observed value, an expected one, and their relation."""

from __future__ import annotations

from typing import Literal

from gateproof_evidence.model.value import Value

Relation = Literal[
    "equals", "differs", "one_of", "at_least", "at_most", "contains", "lacks", "matches"
]
"""The relation that an observed value must have to the expected one.

``one_of`` compares with each element of a list; ``contains`` and ``lacks`` compare with an element
of a list, a key of a mapping or a part of a text; ``matches`` searches a text for a regular
expression; ``at_least`` and ``at_most`` compare numbers.
"""


class Claim(Value):
    """One finding of a check about the system."""

    name: str
    on: str
    """The object that was observed; empty if the name says it."""
    got: str
    """The observed value as JSON, redacted."""
    relation: Relation
    expected: str
    """The expected value as JSON, redacted."""
    over: int | None = None
    """The number of objects that it is about; None for one object."""
    holds: bool
