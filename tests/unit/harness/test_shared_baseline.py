"""A baseline that did not run to its end counts for no proof."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateproof.base.errors import HarnessError, LimitError
from gateproof.faults.falsifier import Prediction
from gateproof.faults.sql import SqlFault, sql
from gateproof.probes.claims.claim import claim
from gateproof.probes.recorder import Scope
from gateproof.proof.baseline import Baselines
from gateproof.proof.proof import run_steps
from gateproof.stack.stack import Running
from gateproof.stack.stopwatch import Stopwatch
from gateproof_evidence.model import ProofEvent
from tests.unit.harness.test_redaction_everywhere import CaptureBench

CHECK = "t.py::test"
PREDICTED = Prediction(text="got")


def steps_of(
    folder: Path, outcomes: list[Exception | None], *, again: bool, refused: bool = False
) -> tuple[ProofEvent, Running]:
    """Run the steps of a proof whose check has these outcomes, one after the other."""

    def check() -> None:
        outcome = outcomes.pop(0)
        claim("outcome of the check", got=True, expected=True)
        if outcome is not None:
            raise outcome

    def refuse(_: str) -> None:
        raise HarnessError("no such file")

    watch = Stopwatch()
    copy: Any = SimpleNamespace(
        needs_stack=refused,
        own_server=False,
        running=Running(),
        bring_up=SimpleNamespace(stopwatch=watch),
        comment_on_database=lambda: refuse(""),
        start_like=refuse,
        stack=SimpleNamespace(sql=SimpleNamespace(query=refuse)),
    )
    fault: SqlFault = sql("f", "DROP POLICY p ON t", landing="SELECT 1")
    bench = CaptureBench(folder)
    with (
        closing(bench),
        bench.recorder.in_scope(Scope(part="proof:f", item=CHECK, criterion="RLS-01")),
    ):
        fields: dict[str, Any] = {"recorder": bench.recorder, "copy": copy, "again": again}
        return run_steps(
            ProofEvent, fault, Prediction(text="got"), check, criterion="RLS-01", **fields
        )


@pytest.mark.parametrize(
    ("outcomes", "again", "refused", "baseline", "runs"),
    [
        ([None, None], True, False, "pass", 2),
        ([None], False, False, "pass", 1),
        ([AssertionError("no")], True, False, "no", 1),
        ([None, AssertionError("no")], True, False, "on its second run, no", 2),
        ([None, LimitError("slow")], True, False, "it ended before its second run", 0),
        ([None], True, True, "it ended before its second run", 0),
        ([LimitError("slow")], False, False, "not run", 0),
        ([], False, True, "not run", 0),
    ],
)
def test_baseline_is_kept_only_if_its_last_run_ended(
    tmp_path: Path,
    outcomes: list[Exception | None],
    again: bool,
    refused: bool,
    baseline: str,
    runs: int,
) -> None:
    """A time limit or a refused change before the last run leaves nothing to share."""
    event, running = steps_of(tmp_path / "bench", outcomes, again=again, refused=refused)
    assert (event.baseline, event.baseline_runs) == (baseline, runs)
    baselines = Baselines()
    baselines.keep(CHECK, event, running)
    found = baselines.find(CHECK, event.shape)
    assert (found is not None) == (runs > 0)
    assert Baselines(shared=False).find(CHECK, event.shape) is None
