"""The judgement of specimens and of cells of the kill matrix, and the summary of a matrix."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from gateproof_evidence.judging.matrix import gate_matrices, matrix_line
from gateproof_evidence.judging.proof import SPECIMENS, judge_cell, judge_cells, judge_self_proof
from gateproof_evidence.model import Cell, CellEvent, CellResult, Claim, Run, SelfProofEvent
from gateproof_evidence.reports.terminal import matrix_tables

NOT_KEPT = Claim(
    name="the claim is not kept",
    on="a.txt",
    got='"kept = no"',
    relation="contains",
    expected='"kept = yes"',
    holds=False,
)
STORY: dict[str, Any] = {
    "writer": "main",
    "seq": 1,
    "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "item": "self-proof::x",
    "falsifier": "x",
    "fault_kind": "file",
    "fault": "replace",
    "expected": "not kept",
    "fingerprint_before": "a",
    "fingerprint_after": "b",
    "baseline": "pass",
    "baseline_runs": 2,
    "faulted": "the claim is not kept",
    "faulted_category": "assertion",
    "findings": (NOT_KEPT,),
}
REQUIRED: dict[str, dict[str, Any]] = {
    "always-green": {"faulted": "pass", "faulted_category": "none"},
    "always-red": {"baseline": "red"},
    "change-that-does-not-matter": {"faulted": "pass", "faulted_category": "none"},
    "fault-that-does-not-land": {"fingerprint_after": "a"},
    "fault-that-is-denied": {"refusal": "denied"},
    "red-by-an-error": {"faulted_category": "other"},
    "red-by-a-premise": {"faulted_category": "premise"},
    "red-for-another-reason": {"expected": "another"},
    "red-by-an-assertion": {"findings": ()},
    "green-without-a-claim": {"baseline": "claims of the check: got none"},
    "red-by-another-claim": {"expected_claim": "file exists"},
    "red-on-another-object": {
        "expected_claim": "the claim is not kept",
        "expected_on": "b.txt",
    },
    "claim-that-can-fail": {
        "expected_claim": "the claim is not kept",
        "expected_on": "a.txt",
    },
    "check-that-can-fail": {},
}


def specimen(name: str, **fields: Any) -> SelfProofEvent:
    """Return the required record of a specimen, with some fields replaced."""
    return SelfProofEvent(specimen=name, **{**STORY, **REQUIRED[name], **fields})


ALL = [specimen(name) for name in SPECIMENS]


def test_self_proof_with_the_required_results_has_no_defect() -> None:
    """Every specimen is listed with its result."""
    found, defects = judge_self_proof(ALL)
    assert defects == ()
    assert {one.name: one.result for one in found} == SPECIMENS


@pytest.mark.parametrize("name", SPECIMENS)
def test_specimen_that_did_not_run_or_ran_twice_is_a_defect(name: str) -> None:
    """A specimen must run exactly once, otherwise its result is unknown."""
    without = [event for event in ALL if event.specimen != name]
    for count, events in ((0, without), (2, [*ALL, specimen(name)])):
        [defect] = judge_self_proof(events)[1]
        assert defect.startswith(f"self-proof: {name}: got unproven")
        assert defect.endswith(f"it ran {count} times, expected once")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("always-green", {"faulted": "red", "faulted_category": "assertion"}),
        ("always-red", {"baseline": "pass"}),
        ("green-without-a-claim", {"baseline": "pass"}),
        ("red-by-an-assertion", {"findings": (NOT_KEPT,)}),
        ("fault-that-is-denied", {"refusal": ""}),
        ("fault-that-does-not-land", {"fingerprint_after": "c"}),
        ("check-that-can-fail", {"faulted": "pass", "faulted_category": "none"}),
    ],
)
def test_specimen_with_another_result_is_a_defect(name: str, fields: dict[str, Any]) -> None:
    """The defect names the specimen, its result and the required result."""
    others = [event for event in ALL if event.specimen != name]
    [defect] = judge_self_proof([*others, specimen(name, **fields)])[1]
    assert defect.startswith(f"self-proof: {name}: got ")
    assert f"expected {SPECIMENS[name]}" in defect


def cell_event(**fields: Any) -> CellEvent:
    """Return the record of a cell."""
    return CellEvent(criterion="XYZ-01", owner="XYZ-02", **{**STORY, **fields})


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({}, "killed"),
        ({"faulted": "pass", "faulted_category": "none"}, "survived"),
        ({"faulted_category": "other"}, "broken"),
        ({"baseline": "red"}, "void"),
        ({"refusal": "denied"}, "void"),
        ({"fingerprint_after": "a"}, "void"),
    ],
)
def test_cell_has_the_effect_of_a_fault_on_a_check(fields: dict[str, Any], result: str) -> None:
    """A failure counts with any message: another check's fault has no prediction."""
    assert judge_cell(cell_event(**fields))[0] == result


def test_run_without_cells_has_no_matrix() -> None:
    """Proofs alone are not a matrix."""
    assert judge_cells(ALL) == ()
    assert len(judge_cells([cell_event()])) == 1


def cell(criterion: str, owner: str, result: CellResult) -> Cell:
    """Return a cell of gate rls."""
    return Cell(criterion=criterion, owner=owner, falsifier="f", result=result, message="")


def test_matrix_finds_redundant_checks(run: Run) -> None:
    """RLS-01 detects both falsifiers, RLS-02 only one of them: RLS-02 is redundant."""
    cells = (
        cell("RLS-01", "RLS-01", "killed"),
        cell("RLS-02", "RLS-01", "survived"),
        cell("RLS-01", "RLS-02", "killed"),
        cell("RLS-02", "RLS-02", "killed"),
    )
    [matrix] = gate_matrices(run.model_copy(update={"matrix": cells}))
    assert matrix.checks == ("RLS-01", "RLS-02")
    assert matrix.killers("RLS-02:f") == ("RLS-01", "RLS-02")
    assert matrix.seen_by_one == ("RLS-01:f",)
    assert matrix.redundant == ("RLS-02",)
    assert matrix_line(matrix).endswith("redundant checks: RLS-02")
    assert gate_matrices(run) == matrix_tables(run) == ()
