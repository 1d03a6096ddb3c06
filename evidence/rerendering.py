"""The report once more, from what was signed: the same bytes, where the same renderer is at hand.

Owns the comparison. Leaves rendering to `evidence.reports.html` and reading the bundle to whoever
calls.

Source: docs/reference/report.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evidence.attestation import Predicate
from evidence.canonical import digest_of
from evidence.finding import Code, Finding
from evidence.model import Record, Run
from evidence.reports import html
from evidence.reports.quotation import Captures
from evidence.reports.renderer import renderer_digest
from evidence.tree import File

REPORT = "data/report.html"


@dataclass(frozen=True, kw_only=True)
class Rerendered:
    """What came of rendering the report again."""

    note: str = ""
    """What was done, or why nothing could be."""
    findings: tuple[Finding, ...] = ()


def render_again(bundle: Path, run: Run, records: Sequence[Record], predicate: Predicate) -> bytes:
    """Return the report of a bundle, as this renderer makes it.

    Args:
        bundle: the folder, for the texts of the captures.
        run: its run.json.
        records: its journal, with or without the data of observations.
        predicate: what was attested: by whose key and when.

    """
    key = predicate.key
    return html.render(
        run,
        records=records,
        captures=Captures(bundle / "data"),
        signer=html.Signer(keyid=key.keyid, ephemeral=key.ephemeral, sealed=predicate.sealed),
    )


def compare_report(
    bundle: Path,
    files: Mapping[str, File],
    run: Run | None,
    records: Sequence[Record] | None,
    predicate: Predicate | None,
) -> Rerendered:
    """Compare the report that lies in a bundle with one that is rendered now.

    Args:
        bundle: the folder.
        files: by path.
        run: its run.json; None where something that the report shows cannot be relied on.
        records: its journal.
        predicate: what was attested, under a signature that holds.

    """
    report = files.get(REPORT)
    if run is None or records is None or predicate is None or report is None:
        return Rerendered(note="not rendered again: what it shows has findings of its own")
    if run.bindings.renderer is None:
        return Rerendered(note="not rendered again: the run does not say which renderer made it")
    if run.bindings.renderer != renderer_digest():
        return Rerendered(
            note=f"not rendered again: made by another renderer, {run.bindings.renderer}; "
            f"this one is {renderer_digest()}"
        )
    expected = digest_of(render_again(bundle, run, records, predicate))
    if report.digest == expected:
        return Rerendered(note="rendered again from what was signed: the same bytes")
    message = f"got {report.digest}, expected {expected}, rendered from what was signed"
    return Rerendered(
        note="rendered again from what was signed: other bytes",
        findings=(Finding(code=Code.REPORT_MISMATCH, path=REPORT, message=message),),
    )
