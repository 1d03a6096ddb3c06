"""The published schema of run.json equals the model's, and real runs match it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from gateproof_evidence.model.schema import run_schema

PUBLISHED = Path(__file__).parents[3] / "docs/reference/run.schema.json"


def test_published_schema_is_current() -> None:
    """The published schema equals `python -m gateproof_evidence.model.schema FILE`."""
    assert PUBLISHED.read_bytes() == run_schema()


def test_schema_accepts_a_sealed_run(bundle: Path) -> None:
    """The run.json of a bundle validates against the published schema."""
    schema = json.loads(PUBLISHED.read_bytes())
    run = json.loads((bundle / "data/run.json").read_bytes())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert list(validator.iter_errors(run)) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("result", "fine", "'fine' is not one of"),
        ("verdict", 1, "Additional properties are not allowed"),
        ("catalogue_digest", "abc", "does not match"),
    ],
)
def test_schema_refuses_invalid_runs(bundle: Path, field: str, value: object, message: str) -> None:
    """An unknown result or field, or an invalid digest, is refused with its name."""
    schema = json.loads(PUBLISHED.read_bytes())
    run = json.loads((bundle / "data/run.json").read_bytes())
    with pytest.raises(jsonschema.ValidationError, match=message):
        jsonschema.validate({**run, field: value}, schema)
