"""The table of refused phrases: it finds each of them, and leaves plain English alone."""

from __future__ import annotations

import pytest

from tests import plain_english
from tests.plain_english import PHRASES, Allowed, find_phrases, findings, unused

TABLE = "tests/plain_english.py"

SENTENCES = {
    "letter": ("Each failure leaves one letter.", "The letters are replayed."),
    "dead letter": ("Write a dead letter for the task.", "One dead letter is left."),
    "told, tell of": ("The count is told twice.", "It tells of a failure.", "They tell which."),
    "said": ("Print what was said.",),
    "heard of": ("A task that was never heard of.", "Nothing was heard from the worker."),
    "strike, struck": ("The server is struck down.", "A fault strikes.", "The rule struck."),
    "anew": ("Seal the bundle anew.", "Run it again and again."),
    "beside": ("The file beside the folder.",),
    "whoever": ("Whoever signs it.", "The people of whom one signs."),
    "nobody, somebody": ("Nobody owns it.", "The lock of somebody else."),
    "dear, cheap": ("A proof is dear.", "Hashing is cheap.", "This is too dear."),
    "manner": ("A manner of running.", "Two manners.", "A kind of going."),
    "look at": ("Look at the queue.", "The queue is looked at.", "A worker looks at it."),
    "lead nowhere": ("The output leads nowhere.", "Both streams lead nowhere."),
    "go on": ("The worker goes on.", "The run went on.", "Go on with the next."),
    "made-up": ("A made-up secret.", "The ids are made up."),
    "lost before their end": ("Claims that were lost before their end.",),
    "nobody lived": ("A task that no worker lived to run.",),
    "held against": ("The runs are held against each other.", "Hold the page against the code."),
    "a sentence without subject": (
        '"""What a run left behind."""',
        "retries = 3  # Who polls, waits.",
        "- Whose key it is.",
    ),
}
"""By phrase, sentences in which it is found."""

IDENTIFIERS = {
    "letter": ("letter_id", "read_letters", "LETTER"),
    "told, tell of": ("told", "_told", "told_lines"),
    "said": ("said", "_said", "was_said"),
    "strike, struck": ("struck", "assert_struck", "strikes"),
    "anew": ("seal_anew",),
    "beside": ("beside", "write_beside"),
    "whoever": ("whoever_signs",),
    "nobody, somebody": ("owned_by_nobody", "SOMEBODY"),
    "manner": ("manner", "MANNERS"),
    "made-up": ("made_up_secret",),
}
"""By phrase, names in which it is found."""

PLAIN = (
    "Write a dead-letter row.",
    "The dead-letter table and the dead-letter queue.",
    'feature = "dead_letters"',
    "class DeadLetter:",
    "read_dead_letter_rows(table)",
    "The newsletter of the project.",
    "An untold number of rows.",
    "The foretold result.",
    "An unsaid premise.",
    "Renew the lease.",
    "Besides, it retries.",
    "The household task.",
    "A cheaper query.",
    "The server restrikes nothing.",
    "What does a run leave behind?",
    '"""What is a gate?"""',
    "Return what the worker printed.",
    "Compare the runs with each other.",
    "The workers lived together.",
)
"""Sentences and names in which nothing is found."""


def found(text: str, path: str = "docs/example.md") -> set[str]:
    """Return the names of the phrases that are found in a text."""
    return {finding.phrase.name for finding in find_phrases(path, text)}


def test_table_has_examples_of_each_phrase() -> None:
    """No phrase is without an example here, and no example is of a phrase that is gone."""
    names = {phrase.name for phrase in PHRASES}
    assert set(SENTENCES) == names
    assert set(IDENTIFIERS) <= names


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, texts in SENTENCES.items() for text in texts],
)
def test_phrase_is_found_in_a_sentence(name: str, text: str) -> None:
    """A sentence with the phrase is refused, at its start too, and with any capital."""
    assert name in found(text)
    assert name in found(f"A line before.\n    {text}") or text.startswith("- ")


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, texts in IDENTIFIERS.items() for text in texts],
)
def test_phrase_is_found_in_an_identifier(name: str, text: str) -> None:
    """An underscore borders a word: a name with the phrase is refused, whatever its case."""
    assert name in found(f"value = {text}")
    assert name in found(f"def {text}(self) -> None:")


@pytest.mark.parametrize("text", PLAIN)
def test_plain_english_is_not_refused(text: str) -> None:
    """A word that only contains the letters of a phrase, and the plain term, are accepted."""
    assert found(text) == set()


def test_finding_names_the_place_and_the_replacement() -> None:
    """The message has file, line, the text found and what to write instead."""
    [finding] = find_phrases("docs/example.md", "One line.\nThe count is told.\n")
    assert (finding.line, finding.found) == (2, "told")
    assert str(finding) == (
        "docs/example.md:2: got 'told', expected plain English: reported, recorded, returned"
    )


def test_allowed_phrase_is_not_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception covers its file, its phrase and its line, and nothing else."""
    one = Allowed(path="docs/*.md", phrase="said", reason="a quotation", line="> ")
    monkeypatch.setattr(plain_english, "ALLOWED", (one,))
    assert found("> it is said") == set()
    assert found("it is said") == {"said"}, "another line"
    assert found("> it is told") == {"told, tell of"}, "another phrase"
    assert found("> it is said", path="README.md") == {"said"}, "another file"


def test_allowed_star_covers_each_phrase_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception with `*` and no line covers the whole file."""
    one = Allowed(path="docs/example.md", phrase="*", reason="examples")
    monkeypatch.setattr(plain_english, "ALLOWED", (one,))
    assert found("what was said\nis told anew") == set()


def test_unused_exception_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception whose file, phrase or line is gone is named; one that is needed is not."""
    needed = Allowed(path=TABLE, phrase="said", reason="the table", line='_word("said"')
    no_file = Allowed(path="docs/no-such-page.md", phrase="said", reason="gone")
    no_line = Allowed(path=TABLE, phrase="said", reason="gone", line="no such line")
    no_phrase = Allowed(path=TABLE, phrase="no such phrase", reason="gone")
    monkeypatch.setattr(plain_english, "ALLOWED", (needed, no_file, no_line, no_phrase))
    assert unused() == [no_file, no_line, no_phrase]


def test_project_has_no_refused_phrase() -> None:
    """No tracked text has a phrase of the table, except where an exception gives a reason."""
    assert [str(one) for one in findings()] == []


def test_project_needs_every_exception() -> None:
    """An exception that no file needs any more is removed."""
    assert unused() == []
