"""The comparison of report and exports with those that are made again from signed data.

Owns the comparison, and which difference is a finding. Leaves rendering to
`gateproof_evidence.reports` and reading the bundle to the caller.

Source: docs/reference/report.md, docs/reference/exports.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.layout import EXPORT_FOLDER, REPORT
from gateproof_evidence.format.tree import File
from gateproof_evidence.model import Bindings, Record, Run
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.reports import html
from gateproof_evidence.reports.exports import registry as exports
from gateproof_evidence.reports.quotation import Captures
from gateproof_evidence.reports.renderer import renderer_digest

DISTRIBUTION = "gateproof-evidence"
"""Its version is that of `gateproof`, which makes the bundles."""


WORDED = (
    Code.VERDICT_MISMATCH,
    Code.ROLLUP_MISMATCH,
    Code.SHARD_MISMATCH,
    Code.REPORT_MISMATCH,
    Code.EXPORT_MISMATCH,
)
"""Findings that another version may have without any alteration: it has other words."""

_FINDINGS = "the data that it is rendered from has findings; read them first"
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]{0,40}")


@dataclass(frozen=True, kw_only=True)
class Rerendered:
    """The result of rendering again."""

    note: str
    """The result for report and exports as one line, with the reason if nothing was compared."""
    is_verified: bool = False
    """Whether the report has the bytes that are rendered from signed data."""
    findings: tuple[Finding, ...] = ()


def render_again(
    bundle: Source, run: Run, records: Sequence[Record], predicate: Predicate
) -> bytes:
    """Return the report of a bundle, as this renderer renders it.

    Args:
        bundle: where the text of the captures is read from.
        run: its run.json.
        records: its journal, with or without the data of observations.
        predicate: the attested statement, for key and time.

    """
    key = predicate.key
    return html.render(
        run,
        records=records,
        captures=Captures(bundle),
        signer=html.Signer(keyid=key.keyid, ephemeral=key.ephemeral, sealed=predicate.sealed),
    )


def compare_rendered(
    bundle: Source,
    files: Mapping[str, File],
    run: Run | None,
    records: Sequence[Record] | None,
    predicate: Predicate | None,
    *,
    required: bool,
) -> Rerendered:
    """Compare the report and the exports of a bundle with those that are rendered now.

    1. The exports depend on run.json alone: every difference is a finding.
    2. The report is always rendered. Equal bytes are verified, whatever renderer the run names.
    3. Other bytes are a finding if the run names this renderer, and if the caller requires that
       the report is compared. Otherwise the report is not verified, and a note says so.

    Args:
        bundle: where the text of the captures is read from.
        files: by path.
        run: its run.json; None if the data of the report has findings.
        records: its journal.
        predicate: the attested statement, with a valid signature.
        required: whether a report that cannot be compared is a finding.

    """
    if run is None or records is None or predicate is None:
        return _not_verified(_FINDINGS, (), required)
    # 1
    findings = (*_compare_exports(files, run),)
    # 2
    page = digest_of(render_again(bundle, run, records, predicate))
    got = files[REPORT].digest if REPORT in files else "no such file"
    if got == page:
        return Rerendered(note=_note(findings), is_verified=True, findings=findings)
    # 3
    if run.bindings.renderer != renderer_digest() and REPORT in files:
        return _not_verified(_another_renderer(run.bindings), findings, required)
    findings = (_finding(Code.REPORT_MISMATCH, REPORT, got, page), *findings)
    return Rerendered(note=_note(findings), findings=findings)


def other_version(bindings: Bindings) -> str | None:
    """Return the version of gateproof that a run records, or None if it is this one or unknown.

    It is the signer's claim: it may explain a finding, and never removes one.
    """
    made_by = bindings.versions.get("gateproof", "")
    return None if made_by == version(DISTRIBUTION) else _plain_version(made_by)


def _plain_version(text: str) -> str | None:
    """Return the text if it is a version that can be pasted into a command."""
    return text if _VERSION.fullmatch(text) else None


def _note(findings: Sequence[Finding]) -> str:
    result = f"other bytes in {len(findings)} of them" if findings else "the same bytes"
    return f"report and exports: rendered again from signed data: {result}"


def _not_verified(why: str, findings: tuple[Finding, ...], required: bool) -> Rerendered:
    """Return that the report was not compared: a finding if the caller requires it."""
    if required:
        message = f"got a report that was not compared, expected one that was: {why}"
        missing = Finding(code=Code.REPORT_NOT_VERIFIED, path=REPORT, message=message)
        findings = (missing, *findings)
    return Rerendered(note=f"report not verified: {why}", findings=findings)


def _another_renderer(bindings: Bindings) -> str:
    """Return why the report was not compared, and what to do."""
    made_by = other_version(bindings)
    maker = f"gateproof {made_by}" if made_by else f"renderer {bindings.renderer or 'unknown'}"
    advice = f"verify the bundle with gateproof {made_by}, or " if made_by else ""
    return (
        f"it differs from the page that gateproof {version(DISTRIBUTION)} renders, and the signer "
        f"states that {maker} made it; {advice}read the page that gateproof render makes instead "
        f"of {REPORT}"
    )


def _compare_exports(files: Mapping[str, File], run: Run) -> Iterator[Finding]:
    """Yield a finding for each export that differs, is missing, or is not rendered."""
    expected = {path: digest_of(made) for path, made in exports.render_all(run).items()}
    there = {path for path in files if path.startswith(EXPORT_FOLDER)}
    for path in sorted(there | expected.keys()):
        got = files[path].digest if path in files else "no such file"
        wanted = expected.get(path, "no such file")
        if got != wanted:
            yield _finding(Code.EXPORT_MISMATCH, path, got, wanted)


def _finding(code: Code, path: str, got: str, expected: str) -> Finding:
    message = f"got {got}, expected {expected}, rendered from signed data"
    return Finding(code=code, path=path, message=message)
