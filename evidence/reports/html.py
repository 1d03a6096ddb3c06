"""The run as one page that an auditor reads: no script, everything escaped, prints well.

Owns what the page shows of each verdict, proof and capture. Leaves markup and style to the
template, and the arithmetic to `evidence.reports.gaps`. The same inputs give the same bytes.

Source: design, "The bundle"; Content Security Policy level 3 (style by hash).
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evidence.bagfile import TEMPLATES
from evidence.matrix import gate_matrices
from evidence.model import Disposition, Falsification, Observation, Outcome, Record, Run, Verdict
from evidence.reports.gaps import WORDS, columns, gate_rows, obstacles, of_gate, total_row
from evidence.reports.glossary import GLOSSARY
from evidence.reports.terminal import MARKS, matrix_line

EXCERPT = 4_000
"""Characters of a capture that stand in the page; the rest is one link away."""

ALL_EXCERPTS = 8_000_000
"""Characters of all excerpts together, so that the page stays well under 15 MB."""

_TIME = "%Y-%m-%d %H:%M:%S UTC"


@dataclass(frozen=True, kw_only=True)
class CaptureView:
    """One capture as the page shows it."""

    path: str
    href: str
    digest: str
    probe: str
    summary: str
    excerpt: str
    cut: bool


def render(
    run: Run,
    *,
    records: Sequence[Record],
    captures_root: Path,
    vouched_by: str | None = None,
) -> bytes:
    """Render the page.

    Args:
        run: what is shown.
        records: the journal, for what each capture is about and what was redacted.
        captures_root: the folder that capture paths are relative to; a capture that is not there
            is shown as missing.
        vouched_by: the id of the signing key, or None for an ephemeral one.

    Returns:
        UTF-8 HTML, the same bytes for the same inputs.

    """
    observations = {r.capture: r for r in records if isinstance(r, Observation)}
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    page = (
        _environment()
        .get_template("report.html")
        .render(
            run=run,
            style=Markup(f"\n{style}"),  # noqa: S704 (our own file, hashed in the policy)
            style_hash=_style_hash(f"\n{style}"),
            vouched_by=vouched_by,
            outcomes=columns(run),
            obstacles=obstacles(run),
            rows=gate_rows(run),
            total=total_row(run),
            gates=[(row, of_gate(run, row.gate)) for row in gate_rows(run)],
            captures=_captures(run, observations, captures_root),
            causes=Counter(v.cause.value for v in run.criteria if v.cause),
            waived=[v for v in run.criteria if v.disposition is not Disposition.NONE],
            redactions=_redactions(observations.values()),
            matrices=[(matrix, matrix_line(matrix)) for matrix in gate_matrices(run)],
            marks=MARKS,
            glossary=GLOSSARY,
        )
    )
    return page.encode("utf-8", "backslashreplace")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        time=_time, duration=_duration, word=WORDS.__getitem__, href=_href, tone=_tone
    )
    return environment


def _captures(
    run: Run, observations: Mapping[str, Observation], root: Path
) -> Mapping[str, tuple[CaptureView, ...]]:
    """Return the captures of each criterion, with excerpts while there is room for them."""
    left = ALL_EXCERPTS
    found: dict[str, tuple[CaptureView, ...]] = {}
    for verdict in run.criteria:
        views = []
        for path, digest in zip(verdict.captures, verdict.observations, strict=True):
            view = _capture(path, digest, observations.get(path), root)
            left -= len(view.excerpt)
            views.append(view if left >= 0 else replace(view, excerpt="", cut=True))
        found[verdict.id] = tuple(views)
    return found


def _capture(path: str, digest: str, seen: Observation | None, root: Path) -> CaptureView:
    text = _beginning(root / path)
    return CaptureView(
        path=path,
        href=_href(path),
        digest=digest,
        probe=seen.probe if seen else "",
        summary=seen.summary if seen else "",
        excerpt="(this capture is missing)" if text is None else text[:EXCERPT],
        cut=text is not None and len(text) > EXCERPT,
    )


def _beginning(path: Path) -> str | None:
    """Read as many characters as are shown, and one more to know whether there are others."""
    try:
        with path.open("r", encoding="utf-8", errors="replace", newline="") as file:
            return file.read(EXCERPT + 1).replace("\r\n", "\n")
    except OSError:
        return None


def _redactions(observations: Iterable[Observation]) -> tuple[tuple[str, int, int], ...]:
    """Return rule, how often it struck, and in how many captures."""
    counts: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for observation in observations:
        for redaction in observation.redactions:
            counts[redaction.rule] += redaction.count
            places[redaction.rule] += 1
    return tuple((rule, count, places[rule]) for rule, count in sorted(counts.items()))


def _style_hash(style: str) -> str:
    digest = hashlib.sha256(style.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _href(path: str) -> str:
    """Give a path as a relative reference, which no name can turn into another scheme."""
    return f"./{quote(path)}"


def _time(moment: datetime) -> str:
    return moment.strftime(_TIME)


def _duration(value: float | timedelta) -> str:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _tone(verdict: Verdict) -> str:
    """Say whether a verdict is good, bad, or something to look at."""
    if verdict.outcome is Outcome.PASS:
        if verdict.falsification in (Falsification.BLIND, Falsification.VOID):
            return "warn"
        return "good"
    if verdict.outcome is Outcome.FAIL:
        return "warn" if verdict.disposition is Disposition.WAIVED else "bad"
    return "quiet" if verdict.outcome in _QUIET else "warn"


_QUIET = (Outcome.NOTAPPLICABLE, Outcome.NOTSELECTED)
