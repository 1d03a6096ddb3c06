"""The report of a run: one HTML page without scripts, with everything escaped, for print too.

Owns the choice of the verdicts, proofs and captures on the page. Leaves markup and style to the
templates, quoting captures to `gateproof_evidence.reports.quotation`, and the counts to
`gateproof_evidence.reports.gate_summary`. The same inputs give the same bytes: the page can be
rendered again from signed data.

Source: design, "The bundle"; Content Security Policy level 3 (style by hash).
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from urllib.parse import quote as percent_encoded

from jinja2 import Environment
from markupsafe import Markup

from gateproof_evidence.format.layout import in_data
from gateproof_evidence.judging.claim import expected_text, value_text
from gateproof_evidence.judging.matrix import gate_matrices, matrix_line
from gateproof_evidence.judging.phase import phases
from gateproof_evidence.model import (
    Bound,
    Cause,
    Digest,
    Disposition,
    Falsification,
    Observation,
    Outcome,
    Proof,
    Record,
    Run,
    Verdict,
)
from gateproof_evidence.reports.gap_matrix import evidence_of, gap_of
from gateproof_evidence.reports.gate_summary import (
    ORDER,
    WORDS,
    columns,
    gate_rows,
    is_open,
    obstacles,
    of_gate,
    total_row,
)
from gateproof_evidence.reports.glossary import GLOSSARY
from gateproof_evidence.reports.quotation import Captures, Quotation, quote, share
from gateproof_evidence.reports.renderer import TEMPLATES, environment
from gateproof_evidence.reports.timeline import WIDTH, timeline

TEMPLATE = "report.html"
"""The template of the page, in the folder `TEMPLATES`."""

LARGEST_PAGE = 14_500_000
"""The most bytes of a page before less is quoted; the target is 15 MB with 5,000 criteria."""

LONGEST_VALUE = 400
"""The most characters of an observed or expected value on the page; the journal has it whole."""

_TIME = "%Y-%m-%d %H:%M:%S UTC"
BRING_UP = "bring-up"
PROOF_PREFIX = "proof:"
"""The values of an observation's `part` that the page shows in sections of their own."""


@dataclass(frozen=True, kw_only=True)
class Signer:
    """The key that signs the bundle."""

    keyid: Digest
    ephemeral: bool
    """Whether the key was generated for this run, so that it identifies no signer."""
    sealed: datetime
    """The time of signing, by the signer's clock."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """How much of the evidence is in the page itself."""

    quoted: int
    """Bytes of captures that are quoted, in total."""
    claims: int
    """Claims of each criterion that are listed, and as many findings."""
    proofs: bool
    """Whether a proof shows its change, or only links to its record."""


DETAILS = (
    Detail(quoted=4_000_000, claims=60, proofs=True),
    Detail(quoted=2_000_000, claims=20, proofs=True),
    Detail(quoted=0, claims=3, proofs=False),
)
"""In descending order; the renderer uses the first with which the page is small enough."""


@dataclass(frozen=True, kw_only=True)
class CaptureView:
    """One capture as the page shows it."""

    place: str
    """The path of its transcript, a colon, and the line of its heading."""
    href: str
    digest: str
    probe: str
    summary: str
    quotation: Quotation | None
    """None where the page has no room for it."""


@dataclass(frozen=True, kw_only=True)
class CaptureList:
    """The captures of one check or the bring-up."""

    captures: tuple[CaptureView, ...] = ()
    kinds: str = ""
    """The number of captures by probe, in words."""

    def __len__(self) -> int:
        return len(self.captures)


@dataclass(frozen=True, kw_only=True)
class StepView:
    """The first entry of one step in the transcript of a proof."""

    name: str
    line: int
    href: str


@dataclass(frozen=True, kw_only=True)
class ProofView:
    """The transcript of one proof."""

    captures: int = 0
    kinds: str = ""
    steps: tuple[StepView, ...] = ()
    baseline: StepView | None = None
    """The baseline in the transcript of another proof, if that counts for this one."""


def render(run: Run, *, records: Sequence[Record], captures: Captures, signer: Signer) -> bytes:
    """Render the page.

    Args:
        run: the run to show.
        records: the journal, for summaries, times and redactions.
        captures: reads the text of captures; one without a file is shown as missing.
        signer: the key and the time of the signature.

    Returns:
        UTF-8 HTML, the same bytes for the same inputs.

    """
    content = b""
    for detail in DETAILS:
        # In parts: as one text, the page takes up to four bytes for each character.
        parts = _page(run, records, captures, signer, detail)
        content = b"".join(part.encode("utf-8", "backslashreplace") for part in parts)
        if len(content) <= LARGEST_PAGE:
            break
    return content


def _page(
    run: Run, records: Sequence[Record], captures: Captures, signer: Signer, detail: Detail
) -> Iterator[str]:
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    observations = [record for record in records if isinstance(record, Observation)]
    evidence = _Evidence(run, observations, captures, detail)
    rows = gate_rows(run)
    return (
        _environment()
        .get_template(TEMPLATE)
        .generate(
            run=run,
            style=Markup(f"\n{style}"),  # noqa: S704 (our own file, hashed in the policy)
            style_hash=_style_hash(f"\n{style}"),
            signer=signer,
            detail=detail,
            evidence=evidence,
            badge=_badge,
            proof_tones=PROOF_TONES,
            ids={verdict.id for verdict in run.criteria},
            outcomes=columns(run),
            obstacles=obstacles(run),
            rows=rows,
            total=total_row(run),
            gates=[(row, of_gate(run, row.gate)) for row in rows],
            phases=phases(run),
            filters=_filters(run),
            causes=_causes(run),
            waived=[v for v in run.criteria if v.disposition is not Disposition.NONE],
            redactions=_redactions(observations),
            matrices=[(matrix, matrix_line(matrix)) for matrix in gate_matrices(run)],
            timeline=timeline(run, records),
            timeline_width=WIDTH,
            glossary=GLOSSARY,
        )
    )


def prepare() -> None:
    """Compile the template of the page; `render` does so at its first call in a process."""
    _environment().get_template(TEMPLATE)


@cache
def _environment() -> Environment:
    rules = environment()
    rules.filters.update(
        time=_time,
        duration=_duration,
        word=WORDS.__getitem__,
        href=_href,
        tone=_tone,
        gap=gap_of,
        value=lambda text: value_text(text)[:LONGEST_VALUE],
        expected=lambda claim: expected_text(claim)[:LONGEST_VALUE],
        pointer=lambda verdict: in_data(evidence_of(verdict)),
        status=lambda one: _status(one.outcome, one.disposition, one.falsification, _tone(one)),
        kinds=_filter_names,
        origin=Bound.origin,
        changes=Bound.changes,
        all_kinds=_all_filter_names,
        room=lambda count: min(1 << (count - 1).bit_length(), 256),
        sentence=lambda text: text[:1].upper() + text[1:],
    )
    return rules


class _Evidence:
    """The captures by criterion and falsifier, limited to the room on the page."""

    def __init__(
        self, run: Run, observations: Iterable[Observation], captures: Captures, detail: Detail
    ) -> None:
        self._captures = captures
        self._observations = {one.capture: one for one in observations}
        own = {
            verdict.id: tuple(zip(verdict.captures, verdict.observations, strict=True))
            for verdict in run.criteria
        }
        here = self._observations.values()
        start = [(one.capture, one.digest) for one in here if one.part == BRING_UP]
        places = [place for pairs in (*own.values(), start) for place, _ in pairs]
        sizes = [self._observations[one].size for one in places if one in self._observations]
        self.shown, self.quoted, self.all = len(places), sum(sizes), len(here)
        self.limit = share(sizes, detail.quoted) if detail.quoted else 0
        self._own = own
        self.bring_up = self._quoted(start)
        self._proofs = self._tried()

    def check(self, criterion: str) -> CaptureList:
        """Return what the check of a criterion observed; made for its part of the page alone."""
        return self._quoted(self._own[criterion])

    def proof(self, criterion: str, proof: Proof) -> ProofView:
        """Return the transcript of one falsifier's proof."""
        found = self._proofs.get((criterion, proof.falsifier), ())
        shared = self._proofs.get((criterion, proof.baseline_of), ()) if proof.baseline_of else ()
        return ProofView(
            captures=len(found),
            kinds=_kinds(found),
            steps=tuple(_steps(found)),
            baseline=next((one for one in _steps(shared) if one.name == "baseline"), None),
        )

    def _tried(self) -> Mapping[tuple[str, str], Sequence[Observation]]:
        """Return the observations of proofs, by criterion and falsifier."""
        found: dict[tuple[str, str], list[Observation]] = defaultdict(list)
        for one in self._observations.values():
            if one.criterion is not None and one.part.startswith(PROOF_PREFIX):
                name = one.part.removeprefix(PROOF_PREFIX).partition(":")[0]
                found[one.criterion, name].append(one)
        return found

    def _quoted(self, pairs: Sequence[tuple[str, Digest]]) -> CaptureList:
        views = [self._view(place, digest) for place, digest in pairs]
        return CaptureList(captures=tuple(views), kinds=_kinds(views))

    def _view(self, place: str, digest: Digest) -> CaptureView:
        seen = self._observations.get(place)
        quotation = None
        if self.limit:
            content = self._captures.read(seen, self.limit) if seen else None
            quotation = quote(seen.probe if seen else "", content, size=seen.size if seen else 0)
        return CaptureView(
            place=place,
            href=_entry_href(seen) if seen else _href(place.rpartition(":")[0]),
            digest=digest,
            probe=seen.probe if seen else "",
            summary=seen.summary if seen else "",
            quotation=quotation,
        )


def _steps(observations: Iterable[Observation]) -> Iterator[StepView]:
    """Yield the first entry of each step of a proof, in the order of the transcript."""
    seen: set[str] = set()
    for one in observations:
        name = one.part.rpartition(":")[2]
        if name not in seen:
            seen.add(name)
            yield StepView(name=name, line=one.line, href=_entry_href(one))


def _entry_href(one: Observation) -> str:
    """Return the URL of an entry: browsers scroll to the text that its heading begins with."""
    text = percent_encoded(f"=== {one.writer}:{one.seq}", safe="").replace("-", "%2D")
    return f"{_href(one.transcript)}#:~:text={text}"


def _kinds(views: Iterable[CaptureView | Observation]) -> str:
    counts = Counter(view.probe for view in views if view.probe)
    return ", ".join(f"{count} {probe}" for probe, count in sorted(counts.items()))


def _filters(run: Run) -> tuple[tuple[str, str, int], ...]:
    """Return name, label and count of each filter that would show any verdict."""
    counts = Counter(name for verdict in run.criteria for name in _filter_names(verdict).split())
    words = {"open": "needs attention", "unproven": "not proven", "waived": "waived"}
    words |= {outcome.value: WORDS[outcome] for outcome in ORDER}
    return tuple((name, word, counts[name]) for name, word in words.items() if counts[name])


def _filter_names(verdict: Verdict) -> str:
    """Return the filters that show a verdict, as classes."""
    names = [verdict.outcome.value]
    if is_open(verdict):
        names.append("open")
    passed = verdict.outcome is Outcome.PASS
    if passed and verdict.falsification is not Falsification.PROVEN:
        names.append("unproven")
    if verdict.disposition is not Disposition.NONE:
        names.append("waived")
    return " ".join(names)


def _all_filter_names(verdicts: Iterable[Verdict]) -> str:
    """Return the filters that show any of several verdicts, as classes."""
    return " ".join(sorted({name for one in verdicts for name in _filter_names(one).split()}))


def _causes(run: Run) -> tuple[tuple[Cause, Mapping[Outcome, Sequence[str]]], ...]:
    """Return, by cause and outcome, the criteria that did not pass."""
    found: dict[Cause, dict[Outcome, list[str]]] = {cause: {} for cause in Cause}
    for verdict in run.criteria:
        if verdict.cause is not None:
            found[verdict.cause].setdefault(verdict.outcome, []).append(verdict.id)
    return tuple(found.items())


def _redactions(observations: Iterable[Observation]) -> tuple[tuple[str, int, int], ...]:
    """Return each rule, its number of matches, and its number of captures."""
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
    """Return a path as a relative URL, which no file name can turn into another scheme."""
    return f"./{percent_encoded(path)}"


def _time(moment: datetime) -> str:
    return moment.strftime(_TIME)


def _duration(value: float | timedelta) -> str:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


@cache
def _badge(text: str, tone: str) -> Markup:
    return Markup('<b class="badge {}">{}</b>').format(tone, text)


@cache
def _status(
    outcome: Outcome, disposition: Disposition, falsification: Falsification, tone: str
) -> Markup:
    """Return the badges of a verdict; they are cached, because few combinations occur."""
    passed = outcome is Outcome.PASS
    badges = [_badge(WORDS[outcome], "good" if passed else tone)]
    if disposition is not Disposition.NONE:
        expired = disposition is Disposition.WAIVER_EXPIRED
        badges.append(_badge(disposition.value.replace("_", " "), "bad" if expired else "warn"))
    if passed:
        badges.append(_badge(falsification.value, PROOF_TONES[falsification]))
    return Markup(" ").join(badges)


def _tone(verdict: Verdict) -> str:
    """Return the CSS class for a verdict: good, bad, or one that needs attention."""
    if verdict.outcome is Outcome.PASS:
        if verdict.falsification in (Falsification.BLIND, Falsification.VOID):
            return "bad"
        return "good" if verdict.falsification is Falsification.PROVEN else "warn"
    if verdict.outcome in (Outcome.FAIL, Outcome.ERROR):
        return "warn" if verdict.disposition is Disposition.WAIVED else "bad"
    return "quiet" if verdict.outcome in _QUIET else "warn"


PROOF_TONES: Mapping[Falsification, str] = {
    Falsification.PROVEN: "good",
    Falsification.BLIND: "bad",
    Falsification.VOID: "bad",
    Falsification.UNPROVEN: "warn",
}
_QUIET = (Outcome.NOTAPPLICABLE, Outcome.NOTSELECTED)
