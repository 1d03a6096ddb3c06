"""The run by phase: each is judged alone, and the next needs all earlier ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateproof_evidence.cli import main
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.judging.phase import find_phase, phases
from gateproof_evidence.model import Cause, Falsification, Outcome, Proof, Result, Run, Verdict

Change = Callable[[Verdict], Verdict]


@pytest.fixture
def released(run: Run) -> Run:
    """Provide a run with only proven passes, in the phases B0.3, B0.9 and B0.10."""
    proof = run.criteria[0].proofs[0]
    places = ("B0.10", "B0.3", "B0.9", "B0.3")
    return run.model_copy(
        update={
            "pytest_status": 0,
            "criteria": tuple(
                _passed(verdict, proof, phase)
                for verdict, phase in zip(run.criteria, places, strict=True)
            ),
        }
    )


def test_phases_are_in_the_order_of_their_ids(released: Run) -> None:
    """The order is numerical, neither alphabetical nor that of the catalogue."""
    found = phases(released)
    assert [one.id for one in found] == ["B0.3", "B0.9", "B0.10"]
    assert [one.next for one in found] == ["B0.9", "B0.10", None]
    assert found[0].criteria == ("RLS-02", "DLQ-02")


def test_phases_of_a_released_run_let_the_next_begin(released: Run) -> None:
    """If every criterion is proven, every next phase may begin."""
    for one in phases(released):
        assert (one.result, one.reasons, one.next_may_begin) == (Result.RELEASED, (), True)


def test_blocked_phase_blocks_all_later_ones(released: Run) -> None:
    """A fail in the second phase does not affect the first, and blocks the third."""
    first, second, third = phases(_with(released, "DLQ-01", _failed))
    assert (first.result, first.next_may_begin) == (Result.RELEASED, True)
    assert second.result is Result.BLOCKED
    assert second.in_the_way[0] == "DLQ-01 fail, gate_violation: got 1, expected 2"
    assert (third.result, third.reasons) == (Result.RELEASED, ())
    assert third.in_the_way == ("phase B0.9 before it is blocked",)


def test_phase_is_blocked_by_a_check_that_cannot_fail(released: Run) -> None:
    """A pass that is not proven releases no phase."""
    second = phases(_with(released, "DLQ-01", _blind))[1]
    assert (second.result, second.next_may_begin) == (Result.BLOCKED, False)
    assert second.reasons == ("DLQ-01 blind: its check names no falsifier",)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"defects": ("the end of main broke",)}, "harness defect: the end of main broke"),
        ({"pytest_status": 2}, "pytest ended with 2: the run did not finish"),
        (
            {"falsify": "none"},
            "it is not shown that any check can fail: no falsification was requested",
        ),
    ],
)
def test_every_phase_is_blocked_by_a_problem_of_the_whole_run(
    released: Run, change: dict[str, object], reason: str
) -> None:
    """A harness defect, an interrupted pytest and a run without proofs release no phase."""
    for one in phases(released.model_copy(update=change)):
        assert one.result is not Result.RELEASED
        assert reason in one.reasons


def test_phase_is_released_if_all_its_proofs_ran(
    released: Run,
) -> None:
    """A run that proves only some phases releases only these."""
    some = _with(released.model_copy(update={"falsify": "some"}), "DLQ-01", _unproven)
    assert [one.result for one in phases(some)] == ["released", "partial", "released"]


def test_find_phase_refuses_a_phase_that_no_criterion_names(released: Run) -> None:
    """The message names the existing phases."""
    with pytest.raises(BadInputError, match=r"got B9\.9, expected one of B0\.3, B0\.9, B0\.10;"):
        find_phase(released, "B9.9")
    assert find_phase(released, "B0.9").criteria == ("DLQ-01",)


def test_show_phase_lists_what_blocks_it(bundle: Path) -> None:
    """The output has the phase, its result, and every reason on its own line."""
    done = CliRunner().invoke(main, ["show", str(bundle), "--phase"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[:2] == [
        "B0.5.1: blocked (4 criteria)",
        "  the last phase; blocked by:",
    ]
    assert "  - RLS-02 fail, gate_violation: tenant A: got 5 rows, expected 3" in lines
    assert lines[-1] == "not verified by this command"


def test_show_phase_prints_json(bundle: Path) -> None:
    """The JSON has the same phase."""
    done = CliRunner().invoke(main, ["show", str(bundle), "--phase", "B0.5.1", "--json"])
    [shown] = json.loads(done.output)["phases"]
    assert (shown["id"], shown["result"], shown["next"]) == ("B0.5.1", "blocked", None)
    assert shown["next_may_begin"] is False
    assert shown["criteria"] == ["RLS-01", "RLS-02", "DLQ-01", "DLQ-02"]


def test_show_phase_refuses_an_unknown_one(bundle: Path) -> None:
    """A phase that the run does not have is bad input."""
    done = CliRunner().invoke(main, ["show", str(bundle), "--phase", "B7.7"])
    assert (done.exit_code, done.stdout) == (4, "")
    assert "--phase: got B7.7, expected one of B0.5.1" in done.stderr


def _with(run: Run, criterion: str, change: Change) -> Run:
    changed = tuple(change(one) if one.id == criterion else one for one in run.criteria)
    assert changed != run.criteria, "premise: the criterion is there and was changed"
    return run.model_copy(update={"criteria": changed})


def _passed(verdict: Verdict, proof: Proof, phase: str) -> Verdict:
    return verdict.model_copy(
        update={
            "phase": phase,
            "outcome": Outcome.PASS,
            "cause": None,
            "message": "",
            "falsification": Falsification.PROVEN,
            "falsifiers": 1,
            "proofs": (proof,),
        }
    )


def _failed(verdict: Verdict) -> Verdict:
    update = {
        "outcome": Outcome.FAIL,
        "cause": Cause.GATE_VIOLATION,
        "disposition": "none",
        "message": "got 1, expected 2",
    }
    return verdict.model_copy(update=update)


def _blind(verdict: Verdict) -> Verdict:
    return verdict.model_copy(update={"falsification": Falsification.BLIND, "proofs": ()})


def _unproven(verdict: Verdict) -> Verdict:
    proof = verdict.proofs[0].model_copy(update={"result": Falsification.UNPROVEN})
    update = {"falsification": Falsification.UNPROVEN, "proofs": (proof,)}
    return verdict.model_copy(update=update)
