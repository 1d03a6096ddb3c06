"""A broken harness: gate taxonomy, run by the broken copy itself, fails on the right criterion."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gateproof.base.project import copy_folders
from gateproof.stack.copy import HARNESS_PACKAGES
from gates.taxonomy.miniature import read_miniature
from tests.acceptance.conftest import ROOT, break_file, run_command

QUICK = "broken_set_up or predicted or exceeds or waiver"
"""The checks that need no server; on a broken harness, one of them fails."""

FAULTS = {
    "limit-is-a-fail": (
        "gateproof/run/stage.py",
        '(LimitError, "limit"),',
        '(LimitError, "assertion"),',
        "outcome and cause: slow check: got fail, gate_violation",
    ),
    "second-run-is-skipped": (
        "gateproof/proof/proof.py",
        'last = _run_green(check, recorder, base, "baseline-again" if again else "baseline")',
        'last = "pass"',
        # The journal has no claim of that run, so that even sound proofs are void.
        "result of the proof: predicted: got void",
    ),
    "second-run-is-not-asked-for": (
        "gateproof_evidence/judging/verdict.py",
        "seen_again = not stories or any(story.baseline_runs > 1 for story in stories)",
        "seen_again = True",
        "result of the proof: second run left out: got proven",
    ),
    "expired-waiver-waives": (
        "gateproof_evidence/judging/verdict.py",
        "expired = date.fromisoformat(waiver.expires) < today",
        "expired = False",
        "disposition of the failure: expired waiver: got waived",
    ),
    "red-clean-up-is-a-pass": (
        "gateproof_evidence/judging/verdict.py",
        'if phase.result == "raised":',
        'if phase.result == "raised" and phase.when != "teardown":',
        "outcome and cause: broken clean-up: got pass, null",
    ),
    "red-clean-up-is-a-fail": (
        "gateproof_evidence/judging/verdict.py",
        'if category == "assertion" and phase.when == "call":',
        'if category == "assertion" and phase.when != "setup":',
        "outcome and cause: broken clean-up: got fail, gate_violation",
    ),
    "red-clean-up-of-a-proof-is-overlooked": (
        "gateproof_evidence/judging/verdict.py",
        'r.result == "raised" and (r.when != "call" or not events)',
        'r.result == "raised" and not events',
        "result of the proof: dirty: got proven",
    ),
}
"""File, text, its replacement, and what the gate must find."""


@pytest.mark.parametrize("name", list(FAULTS))
def test_broken_harness_fails_gate_taxonomy(name: str, tmp_path: Path) -> None:
    """A harness that reports a false outcome or proof fails its own gate, with the finding."""
    file, before, after, finding = FAULTS[name]
    copy = tmp_path / "harness"
    for package in HARNESS_PACKAGES:
        copy_folders(package.parent, (package.name,), copy)
    break_file(copy / file, before, after)
    command = [sys.executable, "-m", "pytest", "gates/taxonomy", "-k", QUICK, "--no-falsify", "-q"]
    command += ["-p", "no:cacheprovider", "--environment", "embedded", "-n", "2"]
    command += ["--evidence-out", str(tmp_path / "reports")]
    path = os.pathsep.join((str(copy), str(ROOT)))
    done = run_command(command, folder=ROOT, env={"PYTHONPATH": path})
    ran = read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)
    assert any(finding in reason for reason in ran.run["reasons"]), "\n".join(ran.run["reasons"])
    assert ran.exit_status == 1, ran.output
