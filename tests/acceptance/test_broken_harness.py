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

FAULTS = {
    "limit-is-a-fail": (
        "exceeds",
        "gateproof/run/stage.py",
        '(LimitError, "limit"),',
        '(LimitError, "assertion"),',
        "outcome and cause: slow check: got fail, gate_violation",
    ),
    "second-run-is-not-asked-for": (
        "predicted",
        "gateproof_evidence/judging/verdict.py",
        "seen_again = not stories or any(story.baseline_runs > 1 for story in stories)",
        "seen_again = True",
        "result of the proof: second run left out: got proven",
    ),
    "red-clean-up-is-a-pass": (
        "broken_set_up",
        "gateproof_evidence/judging/verdict.py",
        'if phase.result == "raised":',
        'if phase.result == "raised" and phase.when != "teardown":',
        "outcome and cause: broken clean-up: got pass, null",
    ),
}
"""Check, file, text, its replacement, and what the check must find: one of each kind. In the
falsifiers of the gate, which are more, a sound harness judges the broken copy."""


@pytest.mark.parametrize("name", list(FAULTS))
def test_broken_harness_fails_gate_taxonomy(name: str, tmp_path: Path) -> None:
    """A harness that reports a false outcome or proof fails its own gate, with the finding."""
    check, file, before, after, finding = FAULTS[name]
    copy = tmp_path / "harness"
    for package in HARNESS_PACKAGES:
        copy_folders(package.parent, (package.name,), copy)
    break_file(copy / file, before, after)
    command = [sys.executable, "-m", "pytest", "gates/taxonomy", "-k", check, "--no-falsify", "-q"]
    command += ["-p", "no:cacheprovider", "--environment", "embedded"]
    command += ["--evidence-out", str(tmp_path / "reports")]
    path = os.pathsep.join((str(copy), str(ROOT)))
    done = run_command(command, folder=ROOT, env={"PYTHONPATH": path})
    ran = read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)
    assert any(finding in reason for reason in ran.run["reasons"]), "\n".join(ran.run["reasons"])
    assert ran.exit_status == 1, ran.output
