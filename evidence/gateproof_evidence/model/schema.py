"""Generate the JSON Schema of ``run.json`` from the model.

``python -m gateproof_evidence.model.schema docs/reference/run.schema.json`` writes it; a test
compares the published file with the model.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gateproof_evidence.model import Run
from gateproof_evidence.model.docstring import described_schema


def run_schema() -> bytes:
    """Return the schema of a run as it is written: aliases, and every field required."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://gateproof.dev/schema/run/v2",
        **described_schema(Run, mode="serialization", by_alias=True),
    }
    return (json.dumps(schema, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(run_schema())
