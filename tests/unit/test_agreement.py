"""The comparison of two runs: a disagreement is another outcome, another cause or no entry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.agreement import disagreements, main


def test_agreement_is_the_same_outcome_and_cause_for_every_criterion() -> None:
    """A criterion that only one run has is a disagreement, like another outcome."""
    one = {"A": "pass (None)", "B": "fail (gate_violation)"}
    assert disagreements(one, dict(one)) == []
    assert disagreements(one, {"A": "pass (None)"}) == [
        "B: got fail (gate_violation) and None, expected the same"
    ]
    assert len(disagreements(one, {**one, "A": "fail (gate_violation)"})) == 1


@pytest.mark.parametrize(("outcome", "status"), [("pass", 0), ("fail", 1)])
def test_agreement_sets_the_exit_status(tmp_path: Path, outcome: str, status: int) -> None:
    """The exit status is 0 for two bundles that agree, and 1 for two that do not."""
    for name, found in (("one", "pass"), ("two", outcome)):
        data = tmp_path / name / "data"
        data.mkdir(parents=True)
        criteria = [{"id": "A", "outcome": found, "cause": None}]
        (data / "run.json").write_text(json.dumps({"criteria": criteria}))
    assert main(tmp_path / "one", tmp_path / "two") == status


def test_agreement_of_two_empty_runs_fails(tmp_path: Path) -> None:
    """Two runs without criteria are no agreement: the exit status is 1."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "run.json").write_text('{"criteria": []}')
    assert main(tmp_path, tmp_path) == 1
