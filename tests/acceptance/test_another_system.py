"""The gates on a system that is not the reference system, where `system` can be imported too."""

from __future__ import annotations

import sys
from pathlib import Path

from gates.taxonomy.miniature import Miniature, read_miniature
from tests.acceptance.conftest import ROOT, run_command
from tests.shop import imports_of_system, write_shop, write_web_shop

CHECKS = ("broker/test_transport.py", "dlq/test_replay.py")
"""The checks that once ran the reference system, whatever was described, except DLQ-13."""


OBSERVED = {"IMP-01", "IMP-02", "IMP-03", "SCH-02", "SCH-04", "SCH-07", "QUE-02", "QUE-04"}
"""The criteria of these gates that the shop meets: it has an app, tables, indexes and a task."""

NOTDESCRIBED = {
    "SCH-01": "migrations.branches: got no such key",
    "QUE-05": "broker.lease_s: got no such key",
    "QUE-06": "broker.promises.deletes: got no such key",
    "RUN-07": "broker.lease_s: got no such key",
}
"""The criteria about features that the description neither has nor declares absent, and the key."""

NOTAPPLICABLE = {
    **{f"RLS-{number:02}": "tenancy is declared absent" for number in (1, 2, 4, 5, *range(8, 13))},
    "SCH-05": "the shop has one customer",
    "RUN-05": "tenancy is declared absent",
    "QUE-03": "task: got the queue orders alone",
    "DLQ-10": "tenancy is declared absent",
    "DLQ-16": "tenancy is declared absent",
}
"""The criteria about features that the shop is declared not to have, and the statement."""

CRITERIA_OF_NOTHING = (
    *("imports", "schema", "rls", "queues", "runtime/test_loss.py", "dlq/test_poison.py"),
    "dlq/test_replay.py",
)


def judge(tmp_path: Path, *checks: str) -> Miniature:
    """Run checks of the pack, without proofs, against the shop; return the result."""
    return judge_described(tmp_path, write_shop(tmp_path / "shop"), *checks, "--no-falsify")


def judge_described(tmp_path: Path, described: Path, *checks: str) -> Miniature:
    """Run checks of the pack, with options, against a description; return the result."""
    command = [sys.executable, "-m", "pytest", "-q"]
    command += [f"gates/{one}" if (ROOT / "gates" / one).exists() else one for one in checks]
    command += ["--sut", str(described), "--environment", "embedded"]
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
    assert "poling_interval: got accepted" in ran.verdict("BRK-06")["message"]
    assert ran.verdict("BRK-07")["outcome"] == "notdescribed", ran.output
    assert ran.verdict("DLQ-10")["outcome"] == "notapplicable", ran.output
    assert "a failed order is shown" in ran.verdict("DLQ-10")["message"]
    assert ran.verdict("DLQ-13") == {}, "a criterion of the reference system"


def test_criteria_about_objects_that_are_not_there_do_not_pass(tmp_path: Path) -> None:
    """On a system without tenants and branches, and with one queue, only what is there passes.

    A claim about each of no objects holds always. The message names the missing objects, the
    missing key or the statement of absence; the bundle verifies with the same verdicts.
    """
    ran = judge(tmp_path, *CRITERIA_OF_NOTHING, "-n", "2")
    passed = {one["id"] for one in ran.run["criteria"] if one["outcome"] == "pass"}
    assert passed == OBSERVED, ran.output
    for outcome, expected in (
        ("notdescribed", NOTDESCRIBED),
        ("notapplicable", NOTAPPLICABLE),
    ):
        for name, missing in expected.items():
            verdict = ran.verdict(name)
            assert verdict["outcome"] == outcome, ran.output
            assert missing in verdict["message"], ran.output
    assert [one["feature"] for one in ran.run["absences"]] == ["tenancy", "dead_letters"]
    assert not any(one.startswith("gate rls") for one in ran.run["reasons"]), ran.run["reasons"]
    command = [sys.executable, "-m", "gateproof_evidence", "verify"]
    done = run_command([*command, str(tmp_path / "reports" / "latest")], folder=ROOT)
    assert done.returncode == 0, done.stdout


def test_described_processes_of_another_system_are_judged(tmp_path: Path) -> None:
    """The shop's web server, with a worker as one of its parts, meets every criterion."""
    ran = judge_described(tmp_path, write_web_shop(tmp_path / "shop"), "process", "--no-falsify")
    found = {one["id"]: one["outcome"] for one in ran.run["criteria"] if one["gate"] == "process"}
    assert found == {f"PRC-0{number}": "pass" for number in range(1, 9)}, ran.output


def test_health_without_a_worker_is_proven(tmp_path: Path) -> None:
    """PRC-03 does not apply to the reference system: its proofs are run on the shop."""
    described = write_web_shop(tmp_path / "shop")
    ran = judge_described(tmp_path, described, "process", "-k", "needs_a_worker")
    assert ran.verdict("PRC-03")["falsification"] == "proven", ran.output
    assert len(ran.verdict("PRC-03")["proofs"]) == 2
