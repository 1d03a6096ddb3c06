"""All exports, and those that a bundle gets when it is sealed."""

from __future__ import annotations

from collections.abc import Mapping

from evidence.model import Run
from evidence.reports.gaps_csv import GAPS_CSV
from evidence.reports.gaps_md import GAPS_MD
from evidence.reports.interface import Export, NothingToSayError
from evidence.reports.junit import JUNIT
from evidence.reports.oscal import OSCAL
from evidence.reports.slsa_summary import SLSA_SUMMARY
from evidence.reports.test_result import TEST_RESULT

EXPORTS: tuple[Export, ...] = (GAPS_CSV, GAPS_MD, JUNIT, OSCAL, TEST_RESULT, SLSA_SUMMARY)
FOLDER = "data/exports/"


def export_named(name: str) -> Export:
    """Return the export with a name of `EXPORTS`."""
    return next(export for export in EXPORTS if export.name == name)


def render_all(run: Run) -> Mapping[str, bytes]:
    """Return path in the bundle and content of every export that has something to say."""
    found: dict[str, bytes] = {}
    for export in EXPORTS:
        try:
            found[f"{FOLDER}{export.file}"] = export.render(run)
        except NothingToSayError:
            continue
    return found
