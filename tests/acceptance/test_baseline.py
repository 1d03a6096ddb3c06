"""A run with a baseline: a regression against an earlier bundle blocks, and is sealed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gates.taxonomy.miniature import Miniature
from tests.acceptance.conftest import GATEPROOF, create_key, run_command
from tests.acceptance.test_exit_status import NEEDS_NO_DATABASE

Run = Callable[..., Miniature]
KEY, PUBLIC = "signer", "signer.pub.pem"


def test_regression_against_the_baseline_blocks_and_verifies(
    run_gates: Run, tmp_path: Path
) -> None:
    """A renamed falsifier blocks when a baseline is given, and the bundle is intact."""
    create_key(KEY, folder=tmp_path)
    ran = run_gates(NEEDS_NO_DATABASE, ("MIN-01",), "--signing-key", KEY)
    assert ran.exit_status == 0, ran.output
    before = (tmp_path / "reports" / "latest").resolve()
    module = tmp_path / "gates" / "test_miniature.py"
    module.write_text(module.read_text().replace('source("marked"', 'source("renamed"'))
    options = ("--signing-key", KEY, "--baseline", str(before), "--baseline-key", PUBLIC)
    ran = run_gates("", (), *options)
    assert (ran.exit_status, ran.run["result"]) == (100, "blocked"), ran.output
    reason = "baseline: MIN-01: proof by marked: proven before, the check does not name it now"
    assert ran.run["reasons"] == [reason]
    assert reason in " ".join(ran.output.split())
    [regression] = ran.run["baseline"]["regressions"]
    assert (regression["rule"], regression["criterion"]) == ("proof", "MIN-01")
    bundle = str((tmp_path / "reports" / "latest").resolve())
    for command, status in (
        (["verify", "--key", PUBLIC, bundle], 0),
        (["diff", str(before), bundle], 1),
        (["diff", bundle, bundle], 0),
    ):
        done = run_command([*GATEPROOF, *command], folder=tmp_path)
        assert done.returncode == status, done.stdout


def test_baseline_without_key_or_bundle_is_bad_input(run_gates: Run) -> None:
    """A run with a baseline but no key, or with a bundle that does not exist, does not start."""
    ran = run_gates(NEEDS_NO_DATABASE, ("MIN-01",), "--baseline", "reports")
    assert ran.exit_status == 4, ran.output
    assert "--baseline: got one of --baseline and --baseline-key" in " ".join(ran.output.split())
    ran = run_gates("", (), "--baseline", "nowhere", "--baseline-key", "missing.pem")
    assert ran.exit_status == 4, ran.output
    assert "nowhere: --baseline: got no such file" in " ".join(ran.output.split())
