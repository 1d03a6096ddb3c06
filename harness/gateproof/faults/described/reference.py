"""Generates the pages about ``falsifiers.toml`` from the models that parse it.

``python -m gateproof.faults.described.reference FILE`` writes the reference page or, for a file
that ends in ``.json``, the JSON Schema with which editors complete and check the file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gateproof.description.reference import table
from gateproof.faults.described.entry import KINDS, Content, Expected
from gateproof_evidence.model.docstring import describe_fields, described_schema

SCHEMA_ID = "https://gateproof.dev/schema/falsifiers/v1"

INTRODUCTION = """# falsifiers.toml: the system's own falsifiers

A [falsifier](../explanation/glossary.md) is a change to a throw-away copy under which the check of
a criterion must go red. The falsifiers of a pack know nothing of a system's source. This file has
those that do: put it next to `sut.toml`, and its falsifiers are proven with those of the checks.
It is part of the system: a bundle is bound to its digest.

```toml
#:schema ./path/to/falsifiers.schema.json

[[falsifier]]
criterion = "DLQ-03"
name = "error-swallowed"
kind = "source"
file = "app/failures.py"
function = "describe_failure"
body = "return None"
expect = { claim = "dead-letter rows of the task", on = "orders.tasks.ping", text = "got 0" }
```

`expect` predicts the finding: the claim that must not hold, its object, and a part of its values.
The report of a run has the names and objects of all claims. A red for another reason proves
nothing, and the falsifier is then void.

The file is parsed strictly: unknown keys, wrong types, names that occur twice, and predictions that
any failure meets are refused before anything starts, all in one message. A criterion that no
described gate has is refused when all gates are collected. A name that a falsifier next to the
check has already is refused too. `gateproof doctor` also refuses a change that does not apply
exactly once to the present files; in a run, such a proof is void.

Multi-line texts read best between `'''`: a line break after the opening quotes does not count, and
all else does. A `body` may have any indentation.

This page is generated: `python -m gateproof.faults.described.reference
docs/reference/falsifiers.md`, and the schema: `python -m gateproof.faults.described.reference
docs/reference/falsifiers.schema.json`.
"""


def falsifiers_reference() -> str:
    """Return the page: one table for each kind, and one for the prediction."""
    describe_fields(Content)
    parts = [INTRODUCTION]
    for kind, model in KINDS.items():
        parts += table(f"Kind `{kind}`", model)
    parts += table("The key `expect`", Expected)
    return "\n".join(parts).rstrip("\n") + "\n"


def falsifiers_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **described_schema(Content),
        "title": "falsifiers.toml",
    }


if __name__ == "__main__":
    target = Path(sys.argv[1])
    text = (
        f"{json.dumps(falsifiers_schema(), indent=2)}\n"
        if target.suffix == ".json"
        else falsifiers_reference()
    )
    target.write_text(text, encoding="utf-8")
