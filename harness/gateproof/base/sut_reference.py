"""Generates the reference page of ``sut.toml`` from the model that parses it.

``python -m gateproof.base.sut_reference docs/reference/sut.md`` writes it; a test compares the
published file with the model, so that the page describes exactly what the parser accepts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateproof.base.sut import Sut

INTRODUCTION = """# sut.toml: the system under test

This file holds all that the harness knows about a system; select another with `--sut FILE`.
It is parsed strictly: an unknown key, a missing key or a wrong type is refused before anything
starts, with a message that names the file and the key. `system/sut.toml` describes the reference
system and is the default.

Commands are lists of words and run without a shell. `{python}` is replaced by the interpreter that
runs the harness or, in containers, by that of the image. Every command runs in the folder `root`.
Its environment holds the DSNs that its section names and, from the harness's own environment, only
`PATH`, `HOME`, the locale and a few others. `dsn` maps a variable to the form of DSN that the
system expects in it: `postgresql`, `postgresql+asyncpg`, `postgresql+psycopg2` or
`postgresql+psycopg`.

This page is generated: `python -m gateproof.base.sut_reference docs/reference/sut.md`.
"""


def sut_reference() -> str:
    """Return the page: one table per section, one row per key."""
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
    """Return the name of a field's section, required or optional; empty for a plain value."""
    named = [one["$ref"] for one in (field, *field.get("anyOf", ())) if "$ref" in one]
    return named[0].rsplit("/", 1)[-1] if named else ""


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in field:
        return f"{{ {', '.join(schema['$defs'][_section_of(field)]['properties'])} }}"
    if "anyOf" in field:
        return " or ".join(_type(one, schema) for one in field["anyOf"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = str(field.get("type", "value"))
    if kind == "array":
        return "list of " + _type(field.get("items", {}), schema)
    if kind == "object":
        inner = field.get("additionalProperties")
        return "table of " + (_type(inner, schema) if isinstance(inner, dict) else "values")
    return {"string": "text", "integer": "whole number", "number": "number"}.get(kind, kind)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(sut_reference(), encoding="utf-8")
