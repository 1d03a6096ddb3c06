"""Words that a mutant and a check have in common."""

from __future__ import annotations

import pytest

from gateproof.proof.mutation.choosing.words import Words, words_of


def test_names_are_several_words() -> None:
    """Underscores, capitals and signs end a word; short ones and digits are none."""
    assert words_of("correlation_id = headerFor(SKIP LOCKED, 42)", "QoS.reject") == {
        "correlation", "id", "header", "for", "skip", "locked", "reject",
    }  # fmt: skip


def test_rare_words_count_more() -> None:
    """Of two checks, each with one of the two words, the one with the rarer word has more."""
    checks = [frozenset(one) for one in ({"task"}, {"task"}, {"task", "lease"}, {"tenant"})]
    words = Words(checks)
    mutant = frozenset({"task", "lease", "unheard"})
    common = [words.in_common(mutant, one) for one in checks]
    assert common[2] == pytest.approx(1)
    assert common[0] == common[1] < 0.5
    assert common[3] == 0


def test_mutant_without_known_words_has_nothing_in_common() -> None:
    """A line of signs, or of words that no check has, says nothing."""
    words = Words([frozenset({"task"})])
    assert words.in_common(frozenset(), frozenset({"task"})) == 0
    assert words.in_common(frozenset({"unheard"}), frozenset({"task"})) == 0
