"""The identity of the renderer: a digest over all that determines the bytes, except the data.

Owns the list of these files; a test compares it with the imports. A bundle records the digest, so
that anyone with the same renderer can make the same bytes again.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

from gateproof_evidence.model import Digest

PACKAGE = Path(__file__).parents[1]
TEMPLATES = PACKAGE / "reports" / "templates"
PARTS = (
    "format/canonical.py",
    "format/layout.py",
    "judging/matrix.py",
    "judging/phase.py",
    "judging/result.py",
    "model/__init__.py",
    "model/binding.py",
    "model/criterion.py",
    "model/record.py",
    "model/run.py",
    "model/value.py",
    "reports/exports/gap_csv.py",
    "reports/exports/gap_markdown.py",
    "reports/exports/interface.py",
    "reports/exports/junit.py",
    "reports/exports/oscal.py",
    "reports/exports/registry.py",
    "reports/exports/slsa_summary.py",
    "reports/exports/test_result.py",
    "reports/gap_matrix.py",
    "reports/gate_summary.py",
    "reports/glossary.py",
    "reports/html.py",
    "reports/markdown.py",
    "reports/quotation.py",
    "reports/renderer.py",
    "reports/templates/report-parts.html",
    "reports/templates/report.css",
    "reports/templates/report.html",
    "reports/timeline.py",
)
"""Files of this package, relative to it, in the order of the digest."""

LIBRARIES = ("jinja2", "markupsafe", "pydantic_core")
"""Their versions decide how a template is filled in and escaped, and how JSON is written."""


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
