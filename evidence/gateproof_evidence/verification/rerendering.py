"""The comparison of report and exports with those that the same renderer makes again.

Owns the comparison. Leaves rendering to `gateproof_evidence.reports` and reading the bundle to the
caller.

Source: docs/reference/report.md, docs/reference/exports.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.layout import EXPORT_FOLDER, PAYLOAD, REPORT
from gateproof_evidence.format.tree import File
from gateproof_evidence.model import Bindings, Digest, Record, Run
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.reports import html
from gateproof_evidence.reports.exports import registry as exports
from gateproof_evidence.reports.quotation import Captures
from gateproof_evidence.reports.renderer import renderer_digest

DISTRIBUTION = "gateproof-evidence"
"""Its version is that of `gateproof`, which makes the bundles."""


@dataclass(frozen=True, kw_only=True)
class Rerendered:
    """The result of rendering again."""

    note: str = ""
    """A note on what was done, or why nothing was."""
    findings: tuple[Finding, ...] = ()


def render_again(bundle: Path, run: Run, records: Sequence[Record], predicate: Predicate) -> bytes:
    """Return the report of a bundle, as this renderer renders it.

    Args:
        bundle: the folder, for the text of the captures.
        run: its run.json.
        records: its journal, with or without the data of observations.
        predicate: the attested statement, for key and time.

    """
    key = predicate.key
    return html.render(
        run,
        records=records,
        captures=Captures(bundle / PAYLOAD),
        signer=html.Signer(keyid=key.keyid, ephemeral=key.ephemeral, sealed=predicate.sealed),
    )


def compare_rendered(
    bundle: Path,
    files: Mapping[str, File],
    run: Run | None,
    records: Sequence[Record] | None,
    predicate: Predicate | None,
) -> Rerendered:
    """Compare the report and the exports of a bundle with those that are rendered now.

    Args:
        bundle: the folder.
        files: by path.
        run: its run.json; None if the data of the report has findings.
        records: its journal.
        predicate: the attested statement, with a valid signature.

    """
    if run is None or records is None or predicate is None:
        return Rerendered(note="not rendered again: the data has findings")
    if run.bindings.renderer is None:
        return Rerendered(note="not rendered again: the run does not record its renderer")
    if run.bindings.renderer != renderer_digest():
        return Rerendered(note=_another_renderer(run.bindings))
    page = render_again(bundle, run, records, predicate)
    expected = {REPORT: digest_of(page)}
    expected |= {path: digest_of(made) for path, made in exports.render_all(run).items()}
    findings = tuple(_compare(files, expected))
    result = f"other bytes in {len(findings)} of them" if findings else "the same bytes"
    return Rerendered(note=f"rendered again from signed data: {result}", findings=findings)


def other_version(bindings: Bindings) -> str | None:
    """Return the version of gateproof that made a bundle, or None if it is this one or unknown."""
    made_by = bindings.versions.get("gateproof")
    return None if made_by == version(DISTRIBUTION) else made_by


def _another_renderer(bindings: Bindings) -> str:
    """Return why the report was not compared, and which version compares it."""
    made_by = other_version(bindings)
    if made_by:
        return (
            f"not rendered again: got a bundle of gateproof {made_by}, expected "
            f"{version(DISTRIBUTION)}; verify it with version {made_by} to compare its report"
        )
    return (
        f"not rendered again: made by another renderer, {bindings.renderer}; this one is "
        f"{renderer_digest()}"
    )


def _compare(files: Mapping[str, File], expected: Mapping[str, Digest]) -> Iterator[Finding]:
    """Yield a finding for each file that differs, is missing, or is not rendered."""
    there = {path for path in files if path.startswith(EXPORT_FOLDER)}
    for path in sorted(there | expected.keys()):
        got = files[path].digest if path in files else "no such file"
        wanted = expected.get(path, "no such file")
        if got != wanted:
            code = Code.REPORT_MISMATCH if path == REPORT else Code.EXPORT_MISMATCH
            message = f"got {got}, expected {wanted}, rendered from signed data"
            yield Finding(code=code, path=path, message=message)
