"""Redaction of secrets in everything that is recorded, before it is written to disk.

Owns the run's known secrets in every encoding, the passwords in any DSN, the headers that contain
credentials, and the ledger. Leaves the list of encodings to
`gateproof_evidence.redaction.spelling`, and the patterns of unknown secrets to
`gateproof_evidence.redaction.secret`. Not detected: a secret that no rule matches, or a number that
is not text.

Source: design, "Redaction"; RFC 3986 section 3.2.1 (userinfo).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gateproof_evidence.errors import BadInputError, NotWritableError
from gateproof_evidence.model import Redaction
from gateproof_evidence.redaction.column import secret_cells
from gateproof_evidence.redaction.placeholder import Placeholders, placeholder
from gateproof_evidence.redaction.secret import (
    BLOCKS,
    FORMS,
    Form,
    is_secret_name,
    looks_secret,
    spans,
)
from gateproof_evidence.redaction.spelling import spellings

SHORTEST_SECRET = 6
"""Characters; a shorter one would match inside ordinary words."""

_SHORT, _REMEMBERED = 256, 16_384
"""The length and the number of the texts that are remembered as harmless: up to about 4 MB."""

_SHORTEST_TEXT = 8
"""Characters; ``pwd=a1b2`` has 8, and most values of a journal have fewer."""

HEADERS = (
    "proxy-authorization",
    "authorization",
    "set-cookie",
    "cookie",
    "x-amz-security-token",
    "x-vault-token",
    "x-auth-token",
    "x-api-token",
    "private-token",
    "x-api-key",
    "api-key",
)
"""Headers whose whole value is a credential, in lower case, longer names first."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_DONE = r"(?!\[redacted:[^\]\s]*\][ \t]*(?:$|[\r\n\"'&<@]|\\[nr]))"
_DSN = re.compile(
    # A port with a path is not a password, and neither is a mask of asterisks.
    r"(://[^\s/:@\"'<>]{0,256}:)(?!\d{1,5}[/?#])(?!\*+@)"
    + _NOT_DONE
    + r"[^\s\"'<>@]{1,1024}(?:@[^\s\"'<>@/]{1,256}){0,3}@"
)
_HEADER_NAMES = "|".join(HEADERS)
_QUOTE = r"(?:\\?[\"']|&(?:amp;)?(?:quot|#34|#x27|#39);)"
_HEADER_PAIR = re.compile(
    rf"(?i)(?P<quote>{_QUOTE})(?P<name>{_HEADER_NAMES})(?P=quote)"
    rf"(?P<sep>\s*[:,]\s*+[bu]?+)(?P<open>{_QUOTE}){_NOT_DONE}"
    r"(?P<value>(?:(?!(?P=open))[^\r\n]){1,65536})"
)
_HEADER_QUOTED = re.compile(
    rf"(?i)(?P<quote>{_QUOTE})(?P<name>{_HEADER_NAMES})(?P<sep>[ \t]*:[ \t]*+){_NOT_DONE}"
    r"(?P<value>(?:(?!(?P=quote))[^\r\n]){1,65536})(?P=quote)"
)
_HEADER_LINE = re.compile(
    # Stops at the end of a line, also at an escaped line end, at markup and at a quotation mark.
    rf"(?i)(?<![\w-])(?P<name>{_HEADER_NAMES})(?P<sep>[ \t]*:[ \t]*+){_NOT_DONE}"
    r"(?P<value>(?:=\"[^\"\r\n]*\"(?=[;,\s]|$)|(?!\\[nr]|&(?:amp;)?(?:quot|#34|#x27|#39);|</?[a-z])[^\r\n\"])+)"
)


def _anchors(forms: Sequence[Form]) -> tuple[str, ...]:
    """Return the anchors of forms, each once: most texts have none of them."""
    return tuple({anchor: None for form in forms for anchor in form.anchors})


_BLOCK_ANCHORS, _FORM_ANCHORS = _anchors(BLOCKS), _anchors(FORMS)


@dataclass(frozen=True, kw_only=True)
class Redacted:
    """Text without its secrets, and the redactions."""

    text: str
    redactions: tuple[Redaction, ...]


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """The number of matches of one rule in one place."""

    rule: str
    place: str
    count: int


class _Counts(Counter[str]):
    """The number of matches of each rule in one text."""

    def __init__(self, placeholders: Placeholders | None = None) -> None:
        super().__init__()
        self._placeholders = placeholders

    def replace(self, rule: str, value: object) -> str:
        """Count a match, and return the placeholder of its value."""
        self[rule] += 1
        if self._placeholders is None:
            return placeholder(rule)
        return self._placeholders.of(rule, str(value))


class Redactor:
    """Redacts the secrets of one run."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._harmless: set[str] = set()
        """Short texts without a match: names of fields are repeated in each record."""
        self._ledger: Counter[tuple[str, str]] = Counter()

    @property
    def ledger(self) -> tuple[LedgerEntry, ...]:
        """The redactions by rule and place, for the calls that named a place."""
        return tuple(
            LedgerEntry(rule=rule, place=place, count=count)
            for (rule, place), count in sorted(self._ledger.items())
        )

    def add_secret(self, name: str, value: str) -> None:
        """Register a secret; from now on every encoding of it is redacted.

        Args:
            name: its name in replacements: A-Z, a-z, 0-9, ``_``, ``.`` and ``-``.
            value: the secret, at least `SHORTEST_SECRET` characters.

        Raises:
            BadInputError: the secret is too short, or the name has other characters.

        """
        if not _NAME.fullmatch(name):
            raise BadInputError(
                f"secret name: got {name!r}, expected 1 to 64 of A-Z, a-z, 0-9, _ . -; rename it"
            )
        if len(value) < SHORTEST_SECRET:
            raise BadInputError(
                f"secret {name}: got {len(value)} characters, expected at least "
                f"{SHORTEST_SECRET}; a shorter one would match ordinary text, use a longer one"
            )
        for spelling in spellings(value):
            self._rules.setdefault(spelling, f"secret:{name}")
        self._harmless.clear()

    def redact(
        self, text: str, *, place: str = "", placeholders: Placeholders | None = None
    ) -> Redacted:
        """Redact every known secret, DSN password, credential header and likely secret in a text.

        Args:
            text: of any length; redacting it a second time changes nothing.
            place: the file of the text, for the ledger; without it nothing is counted there.
            placeholders: those of the comparison that the text belongs to; without them all values
                of one rule have one placeholder.

        """
        if not text or text in self._harmless:
            return Redacted(text=text, redactions=())
        counts = _Counts(placeholders)
        text = self._without_secrets(text, counts)
        text = _without_forms(text, BLOCKS, _BLOCK_ANCHORS, counts)
        text = _without_passwords(text, counts)
        text = _without_headers(text, counts)
        text = _without_forms(text, FORMS, _FORM_ANCHORS, counts)
        text = _without_cells(text, counts)
        if not counts and len(text) <= _SHORT:
            self._remember(text)
        return Redacted(text=text, redactions=self._count(counts, place))

    def redact_json(self, value: Any, *, place: str = "") -> tuple[Any, tuple[Redaction, ...]]:
        """Redact keys and values of a JSON value, at every depth.

        A value under the name of a credential header is replaced as a whole, and so is a text under
        the name of a secret. Numbers are not changed.
        """
        counts = _Counts()
        cleaned = self._clean(value, counts)
        return cleaned, self._count(counts, place)

    def redact_headers(
        self, headers: Iterable[tuple[str, str]], *, place: str = ""
    ) -> tuple[tuple[tuple[str, str], ...], tuple[Redaction, ...]]:
        """Redact (name, value) pairs; of credential headers only the name remains."""
        counts = _Counts()
        pairs = tuple(
            (self._clean_text(name, counts), self._clean_under(name, value, counts))
            for name, value in headers
        )
        return pairs, self._count(counts, place)

    def redact_rows(
        self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, place: str = ""
    ) -> tuple[tuple[tuple[Any, ...], ...], tuple[Redaction, ...]]:
        """Redact the values of columns with the name of a secret."""
        counts = _Counts()
        secret = [is_secret_name(name) for name in columns]
        cleaned = tuple(
            tuple(
                counts.replace("named", cell) if is_secret and _is_text(cell) else cell
                for cell, is_secret in zip(row, secret, strict=True)
            )
            for row in rows
        )
        return cleaned, self._count(counts, place)

    def redact_file(self, path: Path, *, place: str = "") -> tuple[Redaction, ...]:
        """Redact a text file, and replace it by a rename if anything matched.

        Args:
            path: a file of any size that fits in memory; bytes that are not UTF-8 are kept.
            place: for the ledger; the path's name by default.

        Raises:
            NotWritableError: it could not be read or replaced.

        """
        try:
            text = path.read_bytes().decode("utf-8", "surrogateescape")
            done = self.redact(text, place=place or path.name)
            if done.redactions:
                _replace(path, done.text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise NotWritableError(
                f"{path}: redaction: got {error.strerror}, expected to rewrite the file; "
                "free the disk or correct its mode"
            ) from error
        return done.redactions

    # --- internals ---------------------------------------------------------------------------

    def _remember(self, text: str) -> None:
        if len(self._harmless) >= _REMEMBERED:  # texts of one check seldom come in the next one
            self._harmless.clear()
        self._harmless.add(text)

    def _without_secrets(self, text: str, counts: _Counts) -> str:
        # A search for each literal is fast, an alternation of hundreds is slow: the pattern
        # contains only those that occur.
        present = [spelling for spelling in self._rules if spelling in text]
        if not present:
            return text

        def replace(match: re.Match[str]) -> str:
            return counts.replace(self._rules[match[0]], match[0])

        return _alternation(frozenset(present)).sub(replace, text)

    def _clean(self, value: Any, counts: _Counts) -> Any:
        if isinstance(value, str):
            return self._clean_text(value, counts)
        if isinstance(value, Mapping):
            return self._clean_mapping(value, counts)
        if isinstance(value, list | tuple):
            if len(value) == 2 and _is_header(value[0]):
                return [value[0], self._clean_under(value[0], value[1], counts)]
            return [self._clean(one, counts) for one in value]
        return value

    def _clean_mapping(self, value: Mapping[str, Any], counts: _Counts) -> dict[str, Any]:
        cleaned: dict[str, Any] = {}
        for key, inner in value.items():
            name = self._clean_text(str(key), counts)
            while name in cleaned:  # two keys may become equal when redacted; keep both
                name += "'"
            cleaned[name] = self._clean_under(key, inner, counts)
        return cleaned

    def _clean_under(self, key: Any, value: Any, counts: _Counts) -> Any:
        if isinstance(value, str) and isinstance(key, str) and not _is_header(key):
            return self._clean_named(key, value, counts)
        if not _is_header(key) or value in (None, ""):
            return self._clean(value, counts)
        rule = f"header:{key.lower()}"
        if value == placeholder(rule):
            return value
        return counts.replace(rule, value)

    def _clean_named(self, key: str, value: str, counts: _Counts) -> str:
        cleaned = self._clean_text(value, counts)
        if cleaned == value and is_secret_name(key) and looks_secret(key, value):
            return counts.replace("named", value)
        return cleaned

    def _clean_text(self, text: str, counts: _Counts) -> str:
        if not text or text in self._harmless:
            return text
        done = self.redact(text)
        for redaction in done.redactions:
            counts[redaction.rule] += redaction.count
        return done.text

    def _count(self, counts: _Counts, place: str) -> tuple[Redaction, ...]:
        if place:
            for rule, count in counts.items():
                self._ledger[rule, place] += count
        return tuple(Redaction(rule=rule, count=count) for rule, count in sorted(counts.items()))


def _without_passwords(text: str, counts: _Counts) -> str:
    if "://" not in text:
        return text
    return _DSN.sub(
        lambda match: f"{match[1]}{counts.replace('dsn-userinfo', match[0][len(match[1]) :])}@",
        text,
    )


def _without_headers(text: str, counts: _Counts) -> str:
    folded = text.lower()
    if not any(name in folded for name in ("authorization", "cookie", "api-key", "-token")):
        return text
    for pattern in (_HEADER_PAIR, _HEADER_QUOTED, _HEADER_LINE):
        text = pattern.sub(_header_replacer(counts), text)
    return text


def _without_forms(
    text: str, forms: Sequence[Form], anchors: Sequence[str], counts: _Counts
) -> str:
    if len(text) < _SHORTEST_TEXT:
        return text
    folded = text.lower()
    present = [anchor for anchor in anchors if anchor in folded]
    if not present:
        return text
    for form in forms:
        if any(anchor in present for anchor in form.anchors):
            cut = _cut(text, spans(form, text, folded), form.rule, counts)
            if cut is not text:
                text, folded = cut, cut.lower()
                present = [anchor for anchor in anchors if anchor in folded]
    return text


def _without_cells(text: str, counts: _Counts) -> str:
    if "--" not in text and "-[ RECORD" not in text:
        return text
    return _cut(text, secret_cells(text), "named", counts)


def _cut(text: str, places: Iterable[tuple[int, int]], rule: str, counts: _Counts) -> str:
    """Replace positions of a text, which are sorted and do not overlap."""
    parts: list[str] = []
    done = 0
    for start, end in places:
        if not text.startswith("[redacted:", start):
            parts += text[done:start], counts.replace(rule, text[start:end])
            done = end
    return "".join([*parts, text[done:]]) if parts else text


def _header_replacer(counts: _Counts) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        start, end = match.start("value") - match.start(), match.end("value") - match.start()
        whole = match[0]
        replaced = counts.replace(f"header:{match['name'].lower()}", match["value"])
        return whole[:start] + replaced + whole[end:]

    return replace


def _is_text(cell: object) -> bool:
    return isinstance(cell, str | bytes) and bool(cell)


def _is_header(key: Any) -> bool:
    return isinstance(key, str) and key.lower() in HEADERS


@lru_cache(maxsize=256)
def _alternation(present: frozenset[str]) -> re.Pattern[str]:
    """Compile spellings into one pattern, the longest first, so that the whole of each matches."""
    longest_first = sorted(present, key=lambda spelling: (-len(spelling), spelling))
    return re.compile("|".join(re.escape(spelling) for spelling in longest_first))


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(mode & 0o7777)
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
