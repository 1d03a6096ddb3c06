"""Which renderer made report and exports: a digest over all that their bytes depend on but data.

Owns the list of what rendering is made of; a test holds it against what is imported. A bundle
records the digest, so that whoever has the same renderer can make the same bytes again.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

from evidence.model import Digest

PACKAGE = Path(__file__).parents[1]
TEMPLATES = PACKAGE / "templates"
PARTS = (
    "canonical.py",
    "matrix.py",
    "model.py",
    "phase.py",
    "reports/exports.py",
    "reports/gap_matrix.py",
    "reports/gaps.py",
    "reports/gaps_csv.py",
    "reports/gaps_md.py",
    "reports/glossary.py",
    "reports/html.py",
    "reports/interface.py",
    "reports/junit.py",
    "reports/markdown.py",
    "reports/oscal.py",
    "reports/quotation.py",
    "reports/renderer.py",
    "reports/slsa_summary.py",
    "reports/test_result.py",
    "reports/timeline.py",
    "rollup.py",
    "templates/report-parts.html",
    "templates/report.css",
    "templates/report.html",
)
"""Files of this package, relative to it, in the order of the digest."""

LIBRARIES = ("jinja2", "markupsafe", "pydantic_core")
"""Whose versions decide how a template is filled in and escaped, and how JSON is written."""


@cache
def renderer_digest() -> Digest:
    """Return the digest over names and contents of all parts, and the libraries' versions."""
    digest = hashlib.sha256()
    for name in PARTS:
        content = (PACKAGE / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    for name in LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    return f"sha256:{digest.hexdigest()}"
