"""The identity of the renderer of the page: a digest over all that determines its bytes.

Owns the list of these files, and the rules by which templates are filled in. A bundle records the
digest, so that anyone with the same renderer can make the same page again. The versions of the
libraries are not part of it: the digest covers what they make of a fixed sample instead, so that
only a release that changes the output gives another renderer. The exports need no such identity:
they depend on run.json alone and are always compared.

Source: ADR 12 (docs/decisions/0012-the-report-is-rendered-from-what-is-signed.md).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from gateproof_evidence.model import Digest
from gateproof_evidence.model.text import visible

PACKAGE = Path(__file__).parents[1]
TEMPLATES = PACKAGE / "reports" / "templates"
PARTS = (
    "format/layout.py",
    "format/recording/transcript.py",
    "judging/claim.py",
    "judging/matrix.py",
    "judging/phase.py",
    "judging/result.py",
    "model/__init__.py",
    "model/binding.py",
    "model/claim.py",
    "model/criterion.py",
    "model/record.py",
    "model/run.py",
    "model/text.py",
    "model/value.py",
    "reports/gap_matrix.py",
    "reports/gate_summary.py",
    "reports/glossary.py",
    "reports/html.py",
    "reports/quotation.py",
    "reports/renderer.py",
    "reports/templates/report-parts.html",
    "reports/templates/report.css",
    "reports/templates/report.html",
    "reports/timeline.py",
)
"""Files of this package, relative to it, in the order of the digest."""

MACRO = '{% macro many(count, word) %}{{ count }} {{ word }}{{ "s" if count != 1 }}{% endmacro %}'
SAMPLE = """\
{% import macros as part with context %}
{% set place = namespace(n=0) %}
{% set tones = {"one": "good", "more": "bad"} %}
{% set drawn %}
  <i title="{{ text }}">{{ text[:9] }}</i>
{% endset %}
{%- for name, count in counts.items() if count <= 300 and not name == "none" or name is false %}
  {% if count > 1 and count % 2 in (0, 1) and name not in tones %}
<b class="{{ name }}">{{ part.many(count, "row") }}</b>{{ ", " if not loop.last else "." }}
  {% elif count == 3 %}
three{% else %}
{{ 4 * loop.index0 - 1 }} {{ tones[name] }}{% endif -%}
  {% set place.n = place.n + count %}
{% else %}
nothing
{% endfor %}
{{ place.n }} {{ drawn }} {{ markup }} {{ text }} {{ "{:,}".format(1234567) }}
{{ rows | map(attribute="n") | max }} {{ rows | map(attribute="n") | sum }}
{{ rows | selectattr("word", "equalto", "a") | list | length }} {{ [3, 2] | min }}
{{ rows | rejectattr("n") | list }}
{{ counts | dictsort }} {{ counts | join(", ") }} {{ text | replace("<", "&") }}
{{ "none" if missing is none else missing ~ text }} {{ "" or "empty" }} {{ 2.345 | round(1) }}
"""
"""A template with every kind of expression, filter and test that the templates of the page use."""


def environment() -> Environment:
    """Return the rules by which templates are filled in, without filters of ours."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_escaped_controls,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def renderer_digest() -> Digest:
    """Return the digest over names and contents of all parts, and over the filled-in sample."""
    digest = hashlib.sha256()
    contents = {name: (PACKAGE / name).read_bytes() for name in PARTS}
    for name, content in {**contents, "sample": filled_in_sample()}.items():
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return f"sha256:{digest.hexdigest()}"


def filled_in_sample() -> bytes:
    """Return the sample as the installed libraries fill it in, with text that needs escaping."""
    text = "<a href=\"x\">'&amp;' \x1b[31m \u202e \u00e9\r\n\t</a>"
    rules = environment()
    filled = rules.from_string(SAMPLE).render(
        macros=rules.from_string(MACRO),
        text=text,
        markup=Markup("<b>{}</b>").format(text) + escape(text) + Markup(" ").join([text, "<"]),
        counts={"one": 1, "more": 3, "<many>": 300, "none": 4, "beyond": 301},
        rows=[{"n": 2, "word": "a"}, {"n": 5, "word": "<"}],
        missing=None,
    )
    return filled.encode("utf-8", "backslashreplace")


def _escaped_controls(value: Any) -> Any:
    """Make hidden characters visible in text from outside."""
    return visible(value) if type(value) is str else value
