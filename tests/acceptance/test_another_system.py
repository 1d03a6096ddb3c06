"""The gates on a system that is not the reference system, where `system` can be imported too."""

from __future__ import annotations

import sys
from pathlib import Path

from gates.taxonomy.miniature import Miniature, read_miniature
from tests.acceptance.conftest import ROOT, run_command
from tests.shop import imports_of_system, write_shop

CHECKS = ("broker/test_transport.py", "dlq/test_replay.py")
"""The checks that once ran the reference system, whatever was described, except DLQ-13."""


def judge(tmp_path: Path, *checks: str) -> Miniature:
    """Run checks of the pack, without proofs, against the shop; return the result."""
    described = write_shop(tmp_path / "shop")
    command = [sys.executable, "-m", "pytest", *(f"gates/{one}" for one in checks), "-q"]
    command += ["--sut", str(described), "--environment", "embedded", "--no-falsify"]
    command += ["--evidence-out", str(tmp_path / "reports"), "-p", "no:cacheprovider"]
    done = run_command(command, folder=ROOT)
    return read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)


def test_shop_records_an_import_of_system(tmp_path: Path) -> None:
    """A program that imports `system` in the shop's folder is recorded: the next test can fail."""
    write_shop(tmp_path / "shop")
    program = "from system.app import app; print(app.main)"
    done = run_command([sys.executable, "-c", program], folder=tmp_path / "shop")
    assert done.stdout == "shop\n"
    assert imports_of_system(tmp_path / "shop") == ["system", "system.app"]


def test_gates_run_the_described_system_alone(tmp_path: Path) -> None:
    """No check imports `system` while another system is described; each judges that one or none.

    Stock kombu accepts an option that it does not know, so the shop is red: a judgement about the
    reference system would be green.
    """
    ran = judge(tmp_path, *CHECKS)
    assert imports_of_system(tmp_path / "shop") == [], ran.output
    assert ran.judged("BRK-06") == ("fail", "gate_violation"), ran.output
    assert "poling_interval: got 'accepted'" in ran.verdict("BRK-06")["message"]
    assert ran.verdict("BRK-07")["outcome"] in ("pass", "fail"), ran.output
    assert ran.verdict("DLQ-10")["outcome"] == "inconclusive", ran.output
    assert "dead_letters.replay: got no command" in ran.verdict("DLQ-10")["message"]
    assert ran.verdict("DLQ-13") == {}, "a criterion of the reference system"
