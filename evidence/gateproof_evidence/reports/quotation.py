"""The quotation of captures, the texts in transcripts, with emphasis for the reader.

Owns how much is quoted, and the emphasis by kind of capture; the text itself is not changed.
Leaves the page around it to `gateproof_evidence.reports.html`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from gateproof_evidence.format.archive.folder import Folder
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.layout import PAYLOAD
from gateproof_evidence.format.recording.transcript import text_start
from gateproof_evidence.model import Observation
from gateproof_evidence.model.text import visible

LARGEST = 100_000
"""The most bytes of one capture that are quoted; the page links to the rest."""

FOLD_AFTER = 40
"""The most lines of a capture that are shown unfolded; of a longer one only the beginning is."""
_BEGINNING = 25

_MESSAGE = re.compile(r'("(?:message|event|msg)": ?")((?:[^"\\]|\\.)*)')
_LEVEL = re.compile(r'"level(?:name)?": ?"(warning|error|critical|fatal)"', re.IGNORECASE)


NOTHING = Markup("")


@dataclass(frozen=True, kw_only=True)
class Quotation:
    """The text of one capture, as markup for the page."""

    beginning: Markup
    rest: Markup = NOTHING
    """The lines that are folded, if it is long."""
    folded: int = 0
    """The number of folded lines."""
    cut: int = 0
    """The number of bytes that are not quoted."""


class Captures:
    """The texts in the transcripts of one bundle.

    Args:
        root: the bundle, or the folder that the paths of transcripts are relative to. Neither may
            be verified: no link is followed out of it.

    """

    def __init__(self, root: Path | Source) -> None:
        self._source = root if isinstance(root, Source) else Folder(root)
        self._before = PAYLOAD if isinstance(root, Source) else ""

    def read(self, seen: Observation, limit: int) -> bytes | None:
        """Return the beginning of a text; None if there is no such entry in the bundle.

        Args:
            seen: the observation.
            limit: the most bytes.

        """
        path = self._before + seen.transcript
        if self._source.size(path) is None:
            return None
        found = self._source.read(path, min(limit, seen.size), text_start(seen))
        return found if found or not seen.size else None


def share(sizes: Iterable[int], room: int) -> int:
    """Return how many bytes of each capture to quote, so that all captures fit.

    Small captures are quoted whole, and large ones share the rest: the last criterion gets as
    much as the first.
    """
    ordered = sorted(min(size, LARGEST) for size in sizes)
    left = room
    for number, size in enumerate(ordered):
        fair = left // (len(ordered) - number)
        if size > fair:
            return fair
        left -= size
    return LARGEST


def quote(probe: str, content: bytes | None, *, size: int) -> Quotation:
    """Return a capture as the page shows it.

    Args:
        probe: the probe that recorded it.
        content: its beginning; None where it is missing.
        size: the size of the whole capture in bytes.

    """
    if content is None:
        return Quotation(beginning=Markup("(this capture is missing)"))
    text = visible(content.decode("utf-8", "ignore" if len(content) < size else "replace"))
    lines = text.replace("\r\n", "\n").split("\n")
    toned = list(zip(tones(probe, lines), lines, strict=True))
    if lines[-1] == "":
        toned.pop()
    split = _BEGINNING if len(toned) > FOLD_AFTER else len(toned)
    return Quotation(
        beginning=_markup(toned[:split]),
        rest=_markup(toned[split:]),
        folded=len(toned) - split,
        cut=max(size - len(content), 0),
    )


def _markup(lines: Sequence[tuple[str, str]]) -> Markup:
    """Join lines: those of one tone share one element, except lines of a log."""
    parts: list[tuple[str, list[str]]] = []
    for tone, line in lines:
        if parts and parts[-1][0] == tone and not tone.startswith("log"):
            parts[-1][1].append(line)
        else:
            parts.append((tone, [line]))
    made = "".join(_element(tone, "\n".join(own) + "\n") for tone, own in parts)
    return Markup(made)  # noqa: S704 (each part is markup already)


def _element(tone: str, text: str) -> Markup:
    content = _logged(text) if tone.startswith("log") else _text(text)
    if not tone:
        return content
    return Markup(f'<span class="{tone}">{content}</span>')  # noqa: S704 (both are markup already)


def _logged(line: str) -> Markup:
    """Emphasize the message in a line of JSON."""
    found = _MESSAGE.search(line)
    if found is None:
        return _text(line)
    return Markup("{}<b>{}</b>{}").format(
        _text(line[: found.start(2)]), _text(found[2]), _text(line[found.end(2) :])
    )


def _text(text: str) -> Markup:
    """Escape text for an element's content, where quotation marks need no escaping."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(plain)  # noqa: S704 (escaped one line above)


def tones(probe: str, lines: Sequence[str]) -> Iterator[str]:
    """Return the kind of each line: ``cmd``, ``req``, ``res``, ``note``, ``err``, ``log``.

    A line of a log may have two kinds; a line without emphasis has an empty string.
    """
    if probe in ("http", "tasks"):
        return _exchange(lines)
    if probe == "sql":
        return _sql(lines)
    if probe == "logs":
        return (f"log {_level(line)}".rstrip() for line in lines)
    return (_other(line) for line in lines)


def _exchange(lines: Sequence[str]) -> Iterator[str]:
    """Mark command, request, answer and failure; the lines after the headers are the body."""
    tones = {"$": "cmd", ">": "req", "<": "res", "*": "err"}
    body = False
    for line in lines:
        yield "" if body else tones.get(line[:1], "")
        body = body or line == "<"


def _sql(lines: Sequence[str]) -> Iterator[str]:
    """Mark role and settings, the statement, and an error."""
    asked = False
    for line in lines:
        if line.startswith("ERROR:"):
            yield "err"
        elif line.startswith("-- "):
            yield "note"
        else:
            yield "" if asked else "cmd"
            asked = asked or line.endswith(";")


def _level(line: str) -> str:
    found = _LEVEL.search(line)
    if found is None:
        return ""
    return "note" if found[1].lower() == "warning" else "err"


def _other(line: str) -> str:
    return "cmd" if line.startswith("$ ") else "note" if line.startswith("# ") else ""
