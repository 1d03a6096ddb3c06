"""Publishes the reference of ``sut.toml``, generated from the model that reads it.

``python -m gateproof.base.sut_reference docs/reference/sut.md`` writes it; a test holds the
published file against the model, so that the page cannot say more or less than the parser takes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateproof.base.sut import Sut

INTRODUCTION = """# sut.toml: the system under test

All that the harness knows of a system stands in this file; name another with `--sut FILE`.
It is read strictly: an unknown key, a missing one or a wrong type is refused before anything
starts, with the file and the key. `system/sut.toml` describes the reference system and is the
default.

Commands are lists of words; no shell reads them. `{python}` stands for the interpreter that runs
the harness; in containers, for the image's own. Every command runs in the folder `root`, with the
DSNs that its section names and nothing of the harness's own environment but `PATH`, `HOME` and the
locale. `dsn` maps a variable to the form of DSN that the system expects in it: `postgresql`,
`postgresql+asyncpg`, `postgresql+psycopg2` or `postgresql+psycopg`.

This page is generated: `python -m gateproof.base.sut_reference docs/reference/sut.md`.
"""


def sut_reference() -> str:
    """Return the page: one table a section, one row a key."""
    schema = Sut.model_json_schema()
    sections = {
        name: schema["$defs"][_section_of(field)]
        for name, field in schema["properties"].items()
        if _section_of(field)
    }
    parts = [INTRODUCTION, *_section("Top level", schema, schema)]
    for name, section in sections.items():
        parts += _section(f"[{name}]", section, schema)
        for key, field in section["properties"].items():
            if _section_of(field):
                inner = schema["$defs"][_section_of(field)]
                parts += _section(f"[{name}.{key}]", inner, schema)
    return "\n".join(parts)


def _section(title: str, section: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{section.get('description', '').splitlines()[0]}\n"
    yield "| key | type | meaning |\n| --- | --- | --- |"
    required = section.get("required", [])
    for name, field in section["properties"].items():
        if not _section_of(field):
            optional = "" if name in required else f" (default `{field.get('default')}`)"
            meaning = " ".join(field.get("description", "").split())
            yield f"| `{name}` | {_type(field, schema)}{optional} | {meaning} |"
    yield ""


def _section_of(field: dict[str, Any]) -> str:
    """Return the name of the section that a field is, whether it may be left out or not."""
    named = [one["$ref"] for one in (field, *field.get("anyOf", ())) if "$ref" in one]
    return named[0].rsplit("/", 1)[-1] if named else ""


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    kind = str(field.get("type", "value"))
    if kind == "array":
        return "list of " + _type(field.get("items", {}), schema)
    if kind == "object":
        inner = field.get("additionalProperties")
        return "table of " + (_type(inner, schema) if isinstance(inner, dict) else "values")
    return {"string": "text", "integer": "whole number", "number": "number"}.get(kind, kind)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(sut_reference(), encoding="utf-8")
