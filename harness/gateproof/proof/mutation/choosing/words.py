"""Words that a mutant and a check have in common: a hint which check is about what was changed.

A name such as `correlation_id` in the changed line, and in the text of one check among many, says
more than one that every check has. So a word counts by its inverse document frequency.

Source: K. Sparck Jones, "A statistical interpretation of term specificity and its application in
retrieval", 1972; such a comparison orders tests for a change in Peng, Shi, Zhang, "Empirically
revisiting and enhancing IR-based test-case prioritization", 2020.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{3,}")


def words_of(*texts: str) -> frozenset[str]:
    """Return the words of texts in lower case; a name is several words."""
    return frozenset(one.lower() for text in texts for one in _WORD.findall(text))


class Words:
    """How rare each word is among the texts of all checks."""

    def __init__(self, texts: Iterable[frozenset[str]]) -> None:
        known = list(texts)
        self._number = len(known)
        self._with = Counter(word for one in known for word in one)

    def in_common(self, mutant: frozenset[str], check: frozenset[str]) -> float:
        """Return how much of what is rare in a mutant a check has too, from 0 to 1.

        Words that no check has are left out.
        """
        weights = {one: self._weight(one) for one in mutant if one in self._with}
        whole = sum(weights.values())
        return sum(weights[one] for one in weights.keys() & check) / whole if whole else 0.0

    def _weight(self, word: str) -> float:
        return math.log((self._number + 1) / self._with[word])
