"""Placeholders of redacted values that are compared with one another.

Owns telling the values of one comparison apart: equal values have equal placeholders, different
values different ones. So a claim can be judged again from its record. The numbers have a meaning
within one comparison only: across a bundle they do not show that two secrets are the same.

Source: docs/decisions/0025-redacted-values-stay-distinct.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count


def placeholder(rule: str, number: int = 1) -> str:
    """Return what stands for a redacted value: the first of its rule has no number.

    The mark is no colon: the name of a header or a secret with a colon and a value is a match.
    """
    return f"[redacted:{rule}]" if number == 1 else f"[redacted:{rule}#{number}]"


class Placeholders:
    """The placeholders of one comparison.

    Args:
        texts: the texts before redaction; a placeholder that one of them has already is not given
            to another value.

    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)
        self._given: dict[tuple[str, str], str] = {}

    def of(self, rule: str, value: str) -> str:
        """Return the placeholder of a value: the same each time."""
        known = self._given.get((rule, value))
        if known is None:
            known = next(one for one in self._numbered(rule) if self._is_free(one))
            self._given[rule, value] = known
        return known

    def _numbered(self, rule: str) -> Iterable[str]:
        return (placeholder(rule, number) for number in count(1))

    def _is_free(self, one: str) -> bool:
        return one not in self._given.values() and not any(one in text for text in self._texts)
