"""The gap matrix as Markdown, with links to the evidence.

Source: GitHub Flavored Markdown, section 4.10 (tables).
"""

from __future__ import annotations

from urllib.parse import quote

from gateproof_evidence.format.layout import in_data
from gateproof_evidence.model import Run
from gateproof_evidence.reports.exports.interface import Export
from gateproof_evidence.reports.gap_matrix import GapRow, gap_matrix
from gateproof_evidence.reports.markdown import escape

_HEAD = ("criterion", "component", "status", "evidence", "gap")
_NONE = "–"


def render(run: Run) -> bytes:
    """Return the matrix as a page; its links go from ``data/exports/`` to the evidence."""
    rows = gap_matrix(run)
    open_rows = sum(bool(row.gap) for row in rows)
    changes = ", with changes that are not committed" if run.bindings.dirty else ""
    lines = [
        "# Gap matrix",
        "",
        f"Result: **{run.result.value}** (exit status {run.exit_status}).",
        f"Rows: {len(rows)}, with a gap: {open_rows}.",
        f"Commit: {run.bindings.commit or 'unknown'}{changes}.",
        "",
        f"| {' | '.join(_HEAD)} |",
        f"| {' | '.join(':--' for _ in _HEAD)} |",
        *(_line(row) for row in rows),
        "",
    ]
    return "\n".join(lines).encode("utf-8", "backslashreplace")


def _line(row: GapRow) -> str:
    target = quote(in_data(row.evidence))
    link = f"[{escape(row.evidence)}](../{target})"
    cells = (escape(row.criterion), escape(row.component), escape(row.status), link)
    return f"| {' | '.join((*cells, escape(row.gap) or _NONE))} |"


GAPS_MD = Export(name="gaps-md", file="gaps.md", render=render)
