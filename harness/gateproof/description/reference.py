"""Generates the pages about ``sut.toml`` from the model that parses it.

``python -m gateproof.description.reference FILE`` writes the reference page or, for a file that
ends in ``.json``, the JSON Schema with which editors complete and check the file. Tests compare the
published files with the model, so that they describe exactly what the parser accepts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateproof.description.key import ANY_NAME, RENAMES, is_list, is_named, section_in, toml
from gateproof.description.section import UNDESCRIBED, Section
from gateproof.description.sut import Sut
from gateproof_evidence.model.docstring import describe_fields, described_schema

SCHEMA_ID = "https://gateproof.dev/schema/sut/v2"

INTRODUCTION = """# sut.toml: the system under test

This file holds all that the harness knows about a system; select another with `--sut FILE`.
`system/sut.toml` describes the reference system and is the default. `name` and `root` are required.
Everything else is a **feature**: describe what the system has. A criterion names the features that
it needs. Where one is missing, the criterion is `notdescribed`, and the message names the key.
`gateproof doctor --sut FILE` lists what a description can judge, without starting anything.

State what the system does not have in `[[absent]]`, with a reason, an owner and a last day.
Criteria that need it are then `notapplicable`, and the report quotes the statement. After the last
day it counts as not made. A feature that is both described and declared absent is refused.

The file is parsed strictly: unknown keys, missing keys, wrong types, and names of files and
programs that do not exist are refused before anything starts, all in one message.

Editors with a TOML language server complete and check the file with the
[JSON Schema](sut.schema.json), if its first line names it:

```toml
#:schema ./path/to/sut.schema.json
```

Commands are lists of words and run without a shell. `{python}` is replaced by the interpreter of
the key `python`, else by the one that runs the harness; in containers, by that of the image. Every
command runs in the folder `root`. Its environment holds the variables of `env`, the DSNs that its
section names and, from the harness's own environment, only `PATH`, `HOME`, the locale and a few
others. `dsn` maps a variable to the form of DSN that the system expects in it: `postgresql`,
`postgresql+asyncpg`, `postgresql+psycopg2` or `postgresql+psycopg`.

"not described" as a default means that a criterion which needs the key cannot be judged without it.

This page is generated: `python -m gateproof.description.reference docs/reference/sut.md`, and the
schema: `python -m gateproof.description.reference docs/reference/sut.schema.json`.
"""


def sut_reference() -> str:
    """Return the page: one table per section, one row per key, and the renamed keys."""
    describe_fields(Sut)
    parts = [INTRODUCTION, *table("Top level", Sut)]
    parts += _sections(Sut, "")
    parts.append("## Names of version 1\n\n| old key | new key |\n| --- | --- |")
    parts += [f"| `{old}` | `{new}` |" for old, new in RENAMES.items()]
    return "\n".join(parts) + "\n"


def sut_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    schema = described_schema(Sut)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **schema,
        "title": "sut.toml",
    }


def _sections(model: type[Section], place: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = section_in(field.annotation)
        if inner is None:
            continue
        key = f"{place}.{name}" if place else name
        named = f'{key}."{ANY_NAME}"' if is_named(field.annotation) else key
        title = f"[[{key}]]" if is_list(field.annotation) else f"[{named}]"
        yield from table(title, inner)
        yield from _sections(inner, named)


def table(title: str, model: type[Section]) -> Iterator[str]:
    """Yield the lines of the table about one section: its heading, and a row for each key."""
    yield f"## {title}\n"
    yield f"{(model.__doc__ or '').splitlines()[0]}\n"
    yield "| key | type | meaning |\n| --- | --- | --- |"
    schema = model.model_json_schema(ref_template="{model}")
    for name, field in model.model_fields.items():
        if section_in(field.annotation) is None:
            meaning = " ".join((field.description or "").split())
            kind = _type(schema["properties"][name])
            yield f"| `{name}` | {kind}{_default(field)} | {meaning} |"
    yield ""


def _default(field: Any) -> str:
    if field.is_required():
        return ", required"
    default = field.get_default(call_default_factory=True)
    if default is UNDESCRIBED:
        return f" ({UNDESCRIBED}; such as `{toml(field.examples[0])}`)"
    return f" (default `{toml(default)}`)"


def _type(field: dict[str, Any]) -> str:
    for choice in ("anyOf", "oneOf"):
        if choice in field:
            return " or ".join(_type(one) for one in field[choice])
    if "const" in field:
        return f"`{toml(field['const'])}`"
    if "enum" in field:
        return " or ".join(f"`{toml(one)}`" for one in field["enum"])
    kind = str(field.get("type", "value"))
    if kind == "array":
        return "list of " + _type(field.get("items", {}))
    if kind == "object":
        inner = field.get("additionalProperties")
        return "table of " + (_type(inner) if isinstance(inner, dict) else "values")
    return {"string": "text", "integer": "whole number", "number": "number"}.get(kind, kind)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    text = (
        f"{json.dumps(sut_schema(), indent=2)}\n" if target.suffix == ".json" else sut_reference()
    )
    target.write_text(text, encoding="utf-8")
