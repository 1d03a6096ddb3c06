"""One gate or one criterion in a terminal: claims, outcomes, proofs, and captures with their text.

Owns the layout. Leaves the tables of a whole run to `gateproof_evidence.reports.terminal`, and the
kinds of lines in a capture to `gateproof_evidence.reports.quotation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from gateproof_evidence.format.layout import in_bundle
from gateproof_evidence.judging.claim import expected_text, value_text
from gateproof_evidence.model import (
    Claim,
    Disposition,
    Observation,
    Outcome,
    Proof,
    Record,
    Run,
    Verdict,
)
from gateproof_evidence.model.text import visible
from gateproof_evidence.reports.gap_matrix import gap_of
from gateproof_evidence.reports.gate_summary import WORDS, of_gate
from gateproof_evidence.reports.quotation import Captures, tones
from gateproof_evidence.reports.terminal import PROOF_STYLES, STYLES, gate_table

SHOWN_LINES = 40
"""Lines of a capture that are shown, unless all are requested."""

_LINE_STYLES: Mapping[str, str] = {
    "cmd": "bold",
    "req": "blue",
    "res": "magenta",
    "note": "dim",
    "err": "red",
    "log": "",
    "log note": "yellow",
    "log err": "red",
    "": "",
}


def gate_dossier(run: Run, gate: str) -> Iterator[RenderableType]:
    """Yield the row of one gate, then each of its criteria with its claim or its gap."""
    own = of_gate(run, gate)
    yield gate_table(run.model_copy(update={"criteria": own}), total=False)
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading in ("criterion", "outcome", "proofs"):
        table.add_column(heading, no_wrap=True)
    table.add_column("claim and gap", overflow="fold")
    for verdict in own:
        claim = Text(visible(verdict.statement))
        gap = gap_of(verdict)
        if gap:
            claim.append(f"\n{visible(gap)}", STYLES[verdict.outcome])
        table.add_row(Text(verdict.id), _outcome(verdict), _proofs(verdict), claim)
    yield table


def criterion_dossier(
    verdict: Verdict, records: Sequence[Record], captures: Captures, *, full: bool
) -> Iterator[RenderableType]:
    """Yield all that is known of one criterion.

    Args:
        verdict: the verdict on the criterion.
        records: the journal, for the summary of each capture.
        captures: reads the text of captures.
        full: whether every line of every capture is shown.

    """
    yield _head(verdict)
    if verdict.claims:
        yield _claims(verdict.claims if full else verdict.claims[:SHOWN_LINES], verdict)
    for proof in verdict.proofs:
        yield Rule(_proof_title(proof), align="left", style="dim")
        yield Padding(_facts(_proof_facts(proof, verdict, records)), (0, 0, 0, 2))
    seen = {one.capture: one for one in records if isinstance(one, Observation)}
    for place, digest in zip(verdict.captures, verdict.observations, strict=True):
        found = seen.get(place)
        title = Text(found.probe if found else "capture", "bold")
        title.append(f" {visible(found.summary if found else '')}", "not bold")
        yield Rule(title, align="left", style="dim")
        yield Text(f"{in_bundle(place)}  {digest}", "dim")
        yield from _capture(found, captures, full=full)


def _head(verdict: Verdict) -> Table:
    facts: list[tuple[str, RenderableType]] = [
        ("outcome", _outcome(verdict)),
        ("claim", Text(visible(verdict.statement))),
        ("source", Text(visible(verdict.source))),
        ("phase", Text(f"{verdict.phase}, gate {verdict.gate}, severity {verdict.severity.value}")),
    ]
    if verdict.needs:
        facts.append(("needs", Text(visible(", ".join(verdict.needs)))))
    if verdict.cause is not None:
        facts.append(("cause", Text(verdict.cause.value)))
    if verdict.message:
        facts.append(("message", Text(visible(verdict.message), STYLES[verdict.outcome])))
    if verdict.taken_over is not None:
        text = f"from the bundle with attestation {verdict.taken_over}; it ran at {verdict.ran}"
        facts.append(("taken over", Text(text, "dim")))
    if verdict.waiver is not None and verdict.disposition is not Disposition.NONE:
        waiver = verdict.waiver
        acceptance = f"{waiver.owner} accepts it until {waiver.expires}: {waiver.reason}"
        facts.append(
            (verdict.disposition.value.replace("_", " "), Text(visible(acceptance), "yellow"))
        )
    facts.append(("proofs", _proofs(verdict)))
    table = _facts(facts)
    table.title, table.title_justify, table.title_style = verdict.id, "left", "bold"
    return table


def _claims(claims: Sequence[Claim], verdict: Verdict) -> Table:
    """Return a table of claims, those that do not hold first."""
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading in ("claim", "object", "got", "expected"):
        table.add_column(heading, overflow="fold")
    for claim in sorted(claims, key=lambda one: one.holds):
        style = "" if claim.holds else STYLES[verdict.outcome]
        texts = (claim.name, claim.on, value_text(claim.got), expected_text(claim))
        table.add_row(*(Text(visible(text), style) for text in texts))
    left = len(verdict.claims) - len(claims)
    if left:
        table.caption = f"{left} more: gateproof show --full"
    return table


def _facts(facts: Iterable[tuple[str, RenderableType]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value)
    return table


def _outcome(verdict: Verdict) -> Text:
    text = Text(WORDS[verdict.outcome], STYLES[verdict.outcome])
    if verdict.disposition is not Disposition.NONE:
        text.append(f", {verdict.disposition.value.replace('_', ' ')}", "yellow")
    return text


def _proofs(verdict: Verdict) -> Text:
    if verdict.outcome in (Outcome.NOTSELECTED, Outcome.NOTDESCRIBED):
        return Text("–", "dim")
    proven = sum(proof.result.value == "proven" for proof in verdict.proofs)
    count = f" {proven}/{len(verdict.proofs)}" if verdict.proofs else ": no falsifier"
    return Text(f"{verdict.falsification.value}{count}", PROOF_STYLES[verdict.falsification])


def _proof_title(proof: Proof) -> Text:
    title = Text(proof.result.value, PROOF_STYLES[proof.result])
    title.append(f" {visible(proof.falsifier)}", "bold default")
    return title.append(f" {proof.kind}", "default")


def _proof_facts(
    proof: Proof, verdict: Verdict, records: Sequence[Record]
) -> Iterator[tuple[str, RenderableType]]:
    if proof.fault:
        yield "change", Text(visible(proof.fault))
        yield "expected", Text(visible(proof.expected))
    yield "seen", Text(visible(proof.message))
    if proof.baseline_of:
        yield "baseline", Text(f"that of the proof by {visible(proof.baseline_of)}")
    if proof.taken_over:
        yield "taken over", Text(f"from the bundle with attestation {proof.taken_over}", "dim")
    part = f"proof:{proof.falsifier}:"
    count = sum(
        isinstance(one, Observation) and one.criterion == verdict.id and one.part.startswith(part)
        for one in records
    )
    if count:
        yield "captures", Text(f"{count} in {in_bundle(proof.transcript)}", "dim")


def _capture(
    found: Observation | None, captures: Captures, *, full: bool
) -> Iterator[RenderableType]:
    content = captures.read(found, found.size) if found is not None else None
    if found is None or content is None:
        yield Text("(this capture is missing)", "red")
        return
    lines = visible(content.decode("utf-8", "replace")).rstrip("\n").split("\n")
    shown = len(lines) if full else SHOWN_LINES
    pairs = list(zip(tones(found.probe, lines), lines, strict=True))[:shown]
    yield Text("\n").join(Text(line, _LINE_STYLES[tone]) for tone, line in pairs)
    if len(lines) > shown:
        yield Text(f"... {len(lines) - shown} more lines; --full shows them", "dim")
