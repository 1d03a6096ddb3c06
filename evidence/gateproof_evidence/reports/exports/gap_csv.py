"""The gap matrix as CSV, safe to open in a spreadsheet.

A message may contain anything, such as a formula. A cell that a spreadsheet would take for a
formula gets an apostrophe in front, and so does each part after a semicolon, which splits cells
where the decimal sign is a comma.

Source: RFC 4180; OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import fields

from gateproof_evidence.model import Run
from gateproof_evidence.model.text import one_line
from gateproof_evidence.reports.exports.interface import Export
from gateproof_evidence.reports.gap_matrix import GapRow, gap_matrix

_FORMULA = re.compile(r"^([\s\"']*)(?=[=+\-@＝＋－＠])")


def render(run: Run) -> bytes:
    """Return the matrix: UTF-8, every cell quoted, CRLF after each line."""
    page = io.StringIO()
    writer = csv.writer(page, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    names = [field.name for field in fields(GapRow)]
    writer.writerow(names)
    for row in gap_matrix(run):
        writer.writerow([harmless(getattr(row, name)) for name in names])
    return page.getvalue().encode("utf-8", "backslashreplace")


def harmless(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, with any separator."""
    return ";".join(_FORMULA.sub(r"\1'", part) for part in one_line(cell).split(";"))


GAPS_CSV = Export(name="gaps-csv", file="gaps.csv", render=render)
