"""The recorder: turns an observation of a probe into a redacted entry of a transcript and a record.

Checks see raw values in memory; everything is redacted before it is written to disk. The `Scope` of
the recorder names the item that observes; the plugin changes it for each item.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gateproof_evidence.errors import NotWritableError
from gateproof_evidence.format.layout import JOURNAL, in_data
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.format.recording.transcript import Head, Transcripts, transcript_name
from gateproof_evidence.model import Observation, Redaction, Repeat
from gateproof_evidence.redaction.placeholder import Placeholders
from gateproof_evidence.redaction.redactor import Redactor

Probe = Literal["http", "sql", "tasks", "worker", "logs", "process", "file", "environment"]

BRING_UP = "bring-up"
CANARY = "canary"
"""The scope of the canary."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The item and criterion to which observations belong."""

    part: str = BRING_UP
    item: str | None = None
    criterion: str | None = None
    gate: str | None = None

    def transcript(self, writer: str) -> str:
        """Return the path, relative to ``data/``, of the transcript of a writer for this scope."""
        return transcript_name(self.part, gate=self.gate, criterion=self.criterion, writer=writer)


class Recorder:
    """Records the observations of one writer.

    Args:
        journal: receives the records.
        redactor: removes secrets before anything is written.
        data: the ``data/`` folder of the bundle that is being written.
        keep: whether transcripts are written; nothing is sealed of a run without them.

    """

    def __init__(
        self, journal: Journal, redactor: Redactor, data: Path, *, keep: bool = True
    ) -> None:
        self.journal = journal
        self.redactor = redactor
        self.data = data
        self.scope = Scope()
        self._transcripts = Transcripts(data, keep=keep)
        self._last: dict[tuple[str, str, str], tuple[str, Observation]] = {}
        """By transcript, part and probe: what the last observation saw, and its record."""
        self._lock = threading.Lock()
        self._lost = ""

    @property
    def lost(self) -> str:
        """Why the first evidence that could not be written is missing; empty if none is.

        A check may have caught the error: its evidence is missing all the same.
        """
        return self._lost or self.journal.lost

    def lose(self, problem: NotWritableError) -> None:
        """Note that evidence could not be written elsewhere."""
        self._lost = self._lost or str(problem)

    @contextmanager
    def in_scope(self, scope: Scope) -> Iterator[None]:
        """Record for another scope while the block runs, also what names no recorder."""
        before, self.scope = self.scope, scope
        _ACTIVE.append(self)
        try:
            yield
        finally:
            _ACTIVE.pop()
            self.scope = before

    def observe(
        self,
        probe: Probe,
        summary: str,
        *,
        data: Mapping[str, Any],
        text: str,
        taken: tuple[Redaction, ...] = (),
    ) -> Observation:
        """Record one observation; any thread may call this.

        Args:
            probe: the kind of probe.
            summary: the request and its result in one line.
            data: the observation for programs: JSON values; other values become text.
            text: the observation for people, as a well-known tool would show it.
            taken: redactions that the probe has already made in both.

        Returns:
            The record, with the redactions that were made; the earlier one if it saw the same.

        Raises:
            NotWritableError: the entry or its record could not be written.

        """
        with self._lock:
            clean = self.redactor.redact(encodable(text))
            clean_data, data_hits = self.redactor.redact_json(plain(data))
            line = self.redactor.redact(encodable(summary))
            hits = _most(_sum(clean.redactions, taken), _sum(data_hits, taken), line.redactions)
            fields = {
                "criterion": self.scope.criterion,
                "item": self.scope.item,
                "part": self.scope.part,
                "probe": probe,
                "summary": line.text,
                "data": clean_data,
                "redactions": hits,
            }
            return self._append(clean.text, fields)

    def _append(self, text: str, fields: dict[str, Any]) -> Observation:
        """Write an observation, or that it repeats the last one of its probe."""
        place = (self.scope.transcript(self.journal.writer), fields["part"], fields["probe"])
        content = f"{json.dumps([fields['summary'], fields['data']], sort_keys=True)}\n{text}"
        before, last = self._last.get(place, ("", None))
        try:
            if last is not None and before == content:
                self.journal.append(Repeat, repeats=last.seq)
                return last
            seen = self.journal.append_after(partial(self._make, place[0], text, fields))
        except NotWritableError as error:
            self._lost = self._lost or str(error)
            raise
        self._remember(place, content, seen)
        return seen

    def _make(
        self, transcript: str, text: str, fields: dict[str, Any], seq: int, at: datetime
    ) -> Observation:
        """Write the entry of an observation, and return its record."""
        probe, part = fields["probe"], fields["part"]
        head = Head(writer=self.journal.writer, seq=seq, at=at, probe=probe, part=part)
        entry = self._transcripts.add(transcript, text, head)
        return Observation(**{**vars(head), **fields, **vars(entry)})

    def _remember(self, place: tuple[str, str, str], content: str, seen: Observation) -> None:
        if self._last and next(iter(self._last))[0] != place[0]:
            self._last.clear()  # another item runs
        self._last[place] = (content, seen)

    def clean(self, text: str, most: int | None = None) -> str:
        """Redact a text for a record without a capture; the ledger counts the redactions.

        Args:
            text: a text of any length.
            most: how many characters are kept; all by default.

        """
        return self.redactor.redact(encodable(text), place=in_data(JOURNAL)).text[:most]

    def clean_compared(self, got: str, expected: str) -> tuple[str, str]:
        """Redact two texts that are compared: what differs in them still differs afterwards.

        The ledger counts the redactions.
        """
        texts = encodable(got), encodable(expected)
        both = Placeholders(texts)
        done = [
            self.redactor.redact(text, place=in_data(JOURNAL), placeholders=both).text
            for text in texts
        ]
        return done[0], done[1]

    def short(self, text: str, most: int) -> str:
        """Redact a text and return its beginning: a secret that is cut in half is not recognised.

        The redactions are not counted here: the whole text is recorded too, or they are in `taken`.
        """
        return self.redactor.redact(encodable(text)).text[:most]


_ACTIVE: list[Recorder] = []
"""The recorders whose scopes are open, the innermost last; threads of a check share them."""


def active_recorder() -> Recorder | None:
    """Return the recorder of the item that runs, or None outside of a run."""
    return _ACTIVE[-1] if _ACTIVE else None


def encodable(text: str) -> str:
    """Return a text that UTF-8 can encode: lone surrogates are escaped."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def plain(value: Any) -> Any:
    """Return JSON values only; all other values become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    is_plain = value is None or isinstance(value, bool | int | float)
    return value if is_plain else encodable(str(value))


def _sum(*hits: tuple[Redaction, ...]) -> tuple[Redaction, ...]:
    """Add the redactions of successive steps."""
    counts: Counter[str] = Counter()
    for step in hits:
        for redaction in step:
            counts[redaction.rule] += redaction.count
    return tuple(Redaction(rule=rule, count=count) for rule, count in sorted(counts.items()))


def _most(*hits: tuple[Redaction, ...]) -> tuple[Redaction, ...]:
    """Merge the redactions of several views of one observation: take the highest count per rule."""
    counts: dict[str, int] = {}
    for view in hits:
        for redaction in view:
            counts[redaction.rule] = max(counts.get(redaction.rule, 0), redaction.count)
    return tuple(Redaction(rule=rule, count=count) for rule, count in sorted(counts.items()))
