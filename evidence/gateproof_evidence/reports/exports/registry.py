"""The list of all exports, and rendering them for a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from gateproof_evidence.format.layout import EXPORT_FOLDER
from gateproof_evidence.model import Run
from gateproof_evidence.reports.exports.gap_csv import GAPS_CSV
from gateproof_evidence.reports.exports.gap_markdown import GAPS_MD
from gateproof_evidence.reports.exports.interface import Export, NothingToSayError
from gateproof_evidence.reports.exports.junit import JUNIT
from gateproof_evidence.reports.exports.oscal import OSCAL
from gateproof_evidence.reports.exports.slsa_summary import SLSA_SUMMARY
from gateproof_evidence.reports.exports.test_result import TEST_RESULT

EXPORTS: tuple[Export, ...] = (GAPS_CSV, GAPS_MD, JUNIT, OSCAL, TEST_RESULT, SLSA_SUMMARY)


def export_named(name: str) -> Export:
    """Return the export with this name in `EXPORTS`."""
    return next(export for export in EXPORTS if export.name == name)


def render_all(run: Run) -> Mapping[str, bytes]:
    """Return path in the bundle and content of every export that the run has values for."""
    return dict(render_each(run))


def render_each(run: Run) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of one export after the other, as `render_all` returns them."""
    for export in EXPORTS:
        with suppress(NothingToSayError):
            yield f"{EXPORT_FOLDER}{export.file}", export.render(run)
