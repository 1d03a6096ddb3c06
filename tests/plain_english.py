"""Phrases of a private language, and what to write instead.

Owns the table of phrases that no text of the project uses, and finding them in tracked files:
identifiers, docstrings, comments, messages and pages alike. Leaves vocabulary to
docs/explanation/glossary.md. ``python -m tests.plain_english [PATH ...]`` prints what it finds.

Not checked: grammar, and words that are plain in one sense and private in another, unless they are
in the table.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
READ = (".py", ".md", ".toml", ".html", ".css", ".sh", ".sql", ".yml", ".mako", ".ini", ".txt")
READ_BY_NAME = ("Makefile", "Dockerfile", "run", "lock")


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A phrase that is refused."""

    name: str
    pattern: re.Pattern[str]
    instead: str


def _phrase(name: str, pattern: str, instead: str) -> Phrase:
    return Phrase(name=name, pattern=re.compile(pattern, re.IGNORECASE), instead=instead)


_B, _E = r"(?<![a-zA-Z])", r"(?![a-zA-Z])"
"""Word borders at which an underscore counts as a blank, so that identifiers are read too."""


def _word(name: str, pattern: str, instead: str) -> Phrase:
    return _phrase(name, f"{_B}(?:{pattern}){_E}", instead)


PHRASES = (
    _word("letter", r"(?<!dead[ _-])letters?", "dead-letter row, DeadLetter"),
    _word("dead letter", r"dead letter(?!s)", "dead-letter row, DeadLetter"),
    _word(
        "told, tell of",
        r"told|tells? (?:of|on|that|what|which|whether|how)",
        "reported, recorded, returned",
    ),
    _word("said", r"said", "reported, printed, stated"),
    _word("heard of", r"heard (?:of|from)", "known, received from"),
    _word("strike, struck", r"struck(?: down)?|strikes?", "kill, match, fail"),
    _word("anew", r"anew|again and again", "again, retried, repeatedly"),
    _word("beside", r"beside", "next to; compared with; in addition to"),
    _word("whoever", r"whoever|whomever|of whom", "the caller, the signer, anyone who"),
    _word("nobody, somebody", r"nobody|somebody(?: else)?", "unowned; an external ...; no ..."),
    _word("dear, cheap", r"(?:is|are|too|as|so|less|more) (?:dear|cheap)", "slow, fast"),
    _word("manner", r"manners?|a kind of going", "a mode"),
    _word("look at", r"look(?:s|ed|ing)?[ _]at", "poll, scan, read, inspect"),
    _word("lead nowhere", r"leads?[ _]nowhere", "redirect to /dev/null"),
    _word("go on", r"(?:go|goes|going|went)[ _]on", "continue, keep running"),
    _word("made-up", r"made[- _]up(?: secrets?)?", "canary; generated"),
    _word("lost before their end", r"lost before their end", "lease expired before ack"),
    _word("nobody lived", r"lived[ _]to", "delivery limit exceeded"),
    _word("held against", r"held against|hold(?:s|ing)? [a-z ]{1,40} against", "compared with"),
    _phrase(
        "a sentence without subject",
        r'(?:"""|(?<!#)# |^- )(?:What|Who|Whose) (?![^\n]*\?)',
        "subject, verb, object",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """A place where a phrase is right."""

    path: str
    """A pattern of file names."""
    phrase: str
    """A name of `PHRASES`, or `*`."""
    reason: str
    line: str = ""
    """A part of the line; empty for the whole file."""


FALSIFIERS = {
    "system/gates/ci/test_workflow.py": ("verify-in-ci-as-nobody-else-does",),
    "gates/dlq/test_capture.py": ("nobody-sees-nobodys",),
    "gates/dlq/test_unreached.py": ("letters-not-unique",),
    "system/falsifiers.toml": (
        "ignored-failures-not-told",
        "letters-beside-results-alone",
        "success-not-told",
        "letter-after-the-result",
        "told-by-children-alone",
    ),
}
"""Ids that were given before the table; an id is permanent."""

ALLOWED = (
    Allowed(path="tests/plain_english.py", phrase="*", reason="the table itself"),
    Allowed(path="tests/unit/test_plain_english.py", phrase="*", reason="its examples"),
    Allowed(path="tests/corpus/*/*", phrase="*", reason="the bundles are sealed as they are"),
    Allowed(
        path="harness/gateproof/environments/postgres.py",
        phrase="nobody, somebody",
        reason="the Unix account",
        line='UNPRIVILEGED = "nobody"',
    ),
    Allowed(
        path="tests/postgres.py",
        phrase="nobody, somebody",
        reason="the Unix account",
        line='"user": "nobody"',
    ),
    Allowed(
        path="system/gates/test_secrets.py",
        phrase="nobody, somebody",
        reason="the Unix account",
        line="nobody@127.0.0.1",
    ),
    Allowed(
        path="*",
        phrase="letter",
        reason="a function of the database, fixed by a migration",
        line="failures_without_letter",
    ),
    Allowed(
        path="docs/changelog.md",
        phrase="beside",
        reason="the old name of an argument",
        line="running_worker(beside",
    ),
    *(
        Allowed(path=path, phrase="*", reason="the id of a falsifier is permanent", line=name)
        for path, names in FALSIFIERS.items()
        for name in names
    ),
    *(
        Allowed(path="*/dimensions.*", phrase="*", reason="the same id in a table", line=name)
        for names in FALSIFIERS.values()
        for name in names
    ),
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One refused phrase in a file."""

    path: str
    line: int
    found: str
    phrase: Phrase

    def __str__(self) -> str:
        """Return the message: what was found where, and what to write."""
        where, instead = f"{self.path}:{self.line}", self.phrase.instead
        return f"{where}: got {self.found!r}, expected plain English: {instead}"


def find_phrases(path: str, text: str) -> Iterator[Finding]:
    """Yield the refused phrases of a text, but for those that are allowed there."""
    for number, line in enumerate(text.splitlines(), start=1):
        for phrase in PHRASES:
            for match in phrase.pattern.finditer(line):
                if not _allowed(path, line, phrase):
                    yield Finding(path=path, line=number, found=match.group(), phrase=phrase)


def tracked(paths: Iterable[str] = ()) -> list[str]:
    """Return the names of the tracked text files, all or below some paths."""
    done = subprocess.run(
        ["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in done.stdout.split("\0") if name]
    return [
        name
        for name in names
        if (name.endswith(READ) or Path(name).name in READ_BY_NAME) and (ROOT / name).is_file()
    ]


def findings(paths: Iterable[str] = ()) -> list[Finding]:
    """Return the refused phrases of the tracked text files, all or below some paths."""
    return [
        finding
        for name in tracked(paths)
        if not name.startswith("requirements")
        for finding in find_phrases(name, (ROOT / name).read_text(encoding="utf-8"))
    ]


def unused() -> list[Allowed]:
    """Return the exceptions that no file needs any more."""
    names = tracked()
    return [one for one in ALLOWED if not any(_needs(name, one) for name in names)]


def _needs(name: str, one: Allowed) -> bool:
    if not fnmatch(name, one.path):
        return False
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    patterns = [phrase.pattern for phrase in PHRASES if one.phrase in ("*", phrase.name)]
    return any(one.line in line and any(p.search(line) for p in patterns) for line in lines)


def _allowed(path: str, line: str, phrase: Phrase) -> bool:
    return any(
        fnmatch(path, one.path) and one.phrase in ("*", phrase.name) and one.line in line
        for one in ALLOWED
    )


def main() -> int:
    """Print the findings; 1 when there is any."""
    found = findings(sys.argv[1:])
    for finding in found:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"{len(found)} phrases to replace\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
