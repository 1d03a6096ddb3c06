"""The example of the tutorial: drafted by `gateproof init`, judged and proven by the pack."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateproof.draft.command import init
from gates.taxonomy.miniature import Miniature, read_miniature
from tests.acceptance.conftest import ROOT, RUN_LIMIT_S, break_file, run_command

EXAMPLES = ROOT / "docs/examples"
EXAMPLE = EXAMPLES / "helpdesk"
TENANTS = ("RLS-01", "RLS-02", "RLS-04", "RLS-05", "RLS-08", "RLS-09", "RLS-10")
NAMES = ("helpdesk", "depot", "school")
WITHOUT_LOGS = {
    "helpdesk": {"RUN-02", "RUN-04"},
    "depot": {"RUN-02", "RUN-04", "DLQ-03", "DLQ-04", "DLQ-05", "DLQ-17"},
    "school": {"RUN-02", "RUN-04"},
}
"""Criteria that are judged although none of the examples has described log lines."""
ALL_PROOFS = bool(os.environ.get("GATEPROOF_EXAMPLES"))
"""Whether all proofs of the examples are run, which takes minutes."""
WITHOUT_PROOFS = 100
"""The status of a run without proofs in which nothing is red."""
WHOLE_S = 1500.0
"""Enough for the whole pack with its proofs on a busy machine."""
NOT_FORCED = "replies-not-forced"
FIRST = "CREATE POLICY of_workspace ON tickets TO helpdesk_app\n    USING (workspace"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example that a test may break."""
    folder = tmp_path / "helpdesk"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def judge(
    example: Path,
    out: Path,
    *more: str,
    gates: tuple[str, ...] = ("gates/rls",),
    limit_s: float = RUN_LIMIT_S,
) -> Miniature:
    """Run gates of the pack on an example: by default, that of row-level security."""
    command = [sys.executable, "-m", "pytest", *gates, f"--sut={example / 'sut.toml'}"]
    command += ["--environment", "embedded", "-q", "-p", "no:cacheprovider", *more]
    command += ["--evidence-out", str(out / "reports")]
    done = run_command(command, folder=ROOT, limit_s=limit_s)
    return read_miniature(out, exit_status=done.returncode, output=done.stdout)


def shared(described: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a description that a draft can have."""
    tables = ("celery", "task", "tenancy")
    found: dict[str, Any] = {name: dict(described[name]) for name in tables}
    # The draft has no sample: which arguments make a task succeed is for a person to say.
    found["task"] = {name: {"queue": one["queue"]} for name, one in found["task"].items()}
    found["tenancy"] = {key: found["tenancy"][key] for key in ("guc", "key")}
    found["tables"] = sorted(described["tenancy"]["tables"])
    found["owner"], found["role"] = described["database"]["owner"], described["worker"]["role"]
    found["provision"] = described["database"]["provision"]
    found["dsn"] = described["worker"]["dsn"]
    return found


def test_draft_has_what_the_finished_description_says(example: Path) -> None:
    """App, tasks, roles, SQL files and tenancy are drafted as a person wrote them in the end."""
    (example / "sut.toml").unlink()
    done = CliRunner().invoke(init, [str(example)])
    assert done.exit_code == 0, done.output
    finished = tomllib.loads((EXAMPLE / "sut.toml").read_text(encoding="utf-8"))
    drafted = tomllib.loads((example / "sut.toml").read_text(encoding="utf-8"))
    assert shared(drafted) == shared(finished)


def test_example_keeps_its_workspaces_apart_and_is_proven(example: Path, tmp_path: Path) -> None:
    """Every criterion about tenants passes; falsifiers from the file and its own are proven."""
    ran = judge(example, tmp_path, f"--falsify=RLS-02,RLS-04,RLS-01:{NOT_FORCED}")
    found = {name: ran.judged(name)[0] for name in TENANTS}
    assert found == dict.fromkeys(TENANTS, "pass"), ran.output
    for name in ("RLS-02", "RLS-04"):
        proofs = ran.proven(name)
        assert len(proofs) >= 2, ran.output
        assert {result for result, _ in proofs.values()} == {"proven"}, ran.output
    own = tomllib.loads((EXAMPLE / "falsifiers.toml").read_text(encoding="utf-8"))["falsifier"]
    assert len(own) == 3
    for one in own:
        assert ran.proven(one["criterion"])[one["name"]][0] == "proven", ran.output
    assert "declared absent: dead_letters: a job that fails is shown" in " ".join(
        ran.output.split()
    )


@pytest.mark.parametrize(
    ("before", "after", "criterion", "check", "finding"),
    [
        (
            "ALTER TABLE replies FORCE ROW LEVEL SECURITY;\n",
            "",
            "RLS-01",
            "gates/rls/test_premises.py",
            "row-level security forced: replies: got false",
        ),
        (
            "ALTER TABLE replies ENABLE ROW LEVEL SECURITY;\n",
            "",
            "RLS-02",
            "gates/rls/test_visibility.py",
            'rows that the role sees: helpdesk_app/replies/A: got {"A": 3, "B": 2}',
        ),
        (
            FIRST,
            "CREATE POLICY open ON tickets FOR UPDATE TO helpdesk_app USING (true);\n" + FIRST,
            "RLS-05",
            "gates/rls/test_writes.py",
            "helpdesk_app/tickets/A: got",
        ),
    ],
    ids=["not-forced", "not-enabled", "open-to-updates"],
)
def test_defect_of_the_example_is_found(
    example: Path,
    tmp_path: Path,
    before: str,
    after: str,
    criterion: str,
    check: str,
    finding: str,
) -> None:
    """A defect in the migration of the example fails the criterion that it breaks."""
    break_file(example / "schema/1.sql", before, after)
    ran = judge(example, tmp_path, "--no-falsify", gates=(check,))
    assert ran.judged(criterion) == ("fail", "gate_violation"), ran.output
    claims = [one for one in ran.verdict(criterion)["claims"] if not one["holds"]]
    texts = [f"{one['name']}: {one['on']}: got {one['got'].strip(chr(34))}" for one in claims]
    assert any(finding in text for text in texts), texts


@pytest.mark.parametrize("name", NAMES)
def test_example_meets_every_criterion_of_the_pack(name: str, tmp_path: Path) -> None:
    """Every criterion passes, or is not applicable by a stated decision.

    Gate taxonomy is left out: it judges the harness, on the reference system too.
    """
    arguments = ("--no-falsify", "--deselect", "gates/taxonomy")
    ran = judge_whole(name, tmp_path, *arguments, limit_s=RUN_LIMIT_S)
    assert ran.exit_status == WITHOUT_PROOFS, ran.output
    judged = [one for one in ran.run["criteria"] if one["gate"] != "taxonomy"]
    outcomes = {one["id"]: one["outcome"] for one in judged}
    assert set(outcomes.values()) == {"pass", "notapplicable"}, ran.output
    passed = {identifier for identifier, outcome in outcomes.items() if outcome == "pass"}
    assert passed >= WITHOUT_LOGS[name], ran.output


def test_harness_is_judged_next_to_a_system_that_leaves_criteria_out(tmp_path: Path) -> None:
    """Inner runs of gate taxonomy have another catalogue, and a copy of the harness no pack."""
    assert "[[left_out]]" in (EXAMPLES / "depot/sut.toml").read_text(encoding="utf-8"), "premise"
    shutil.copytree(EXAMPLES / "depot", tmp_path / "depot")
    gates = ("gates/taxonomy/test_waiver.py",)
    ran = judge(tmp_path / "depot", tmp_path, gates=gates)
    assert ran.judged("TAX-07") == ("pass", None), ran.output
    assert {result for result, _ in ran.proven("TAX-07").values()} == {"proven"}, ran.output


@pytest.mark.skipif(not ALL_PROOFS, reason="all proofs of the examples: make examples")
@pytest.mark.parametrize("name", NAMES)
def test_example_is_released_by_the_whole_pack(name: str, tmp_path: Path) -> None:
    """Every criterion passes or is not applicable by a stated decision; every proof is proven."""
    ran = judge_whole(name, tmp_path, limit_s=WHOLE_S)
    assert ran.exit_status == 0, ran.output
    proofs = [each for one in ran.run["criteria"] for each in one["proofs"]]
    assert len(proofs) > 100
    assert {one["result"] for one in proofs if one["kind"]} == {"proven"}, ran.output
    described = tomllib.loads((EXAMPLES / name / "sut.toml").read_text(encoding="utf-8"))
    left_out = {f"criterion {one['criterion']}" for one in described.get("left_out", ())}
    shown = {one["feature"] for one in ran.run["absences"]}
    assert {one for one in shown if one.startswith("criterion")} == left_out, ran.output


def judge_whole(name: str, tmp_path: Path, *more: str, limit_s: float) -> Miniature:
    """Run the whole pack on a copy of an example."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return judge(folder, tmp_path, "-n", "2", *more, gates=("gates",), limit_s=limit_s)


def test_worker_that_does_not_start_is_one_finding(example: Path, tmp_path: Path) -> None:
    """One criterion says why no worker starts; those that need it are not judged, and verify so."""
    break_file(example / "sut.toml", '"--pool={pool}"', '"--pool=none-of-these"')
    ran = judge(
        example, tmp_path, "--no-falsify", gates=("gates/runtime", "gates/queues", "gates/imports")
    )
    outcome, cause = ran.judged("RUN-01")
    assert (outcome, cause) == ("error", "to_investigate"), ran.output
    assert "exited during its start" in ran.verdict("RUN-01")["message"], ran.output
    for name in ("RUN-06", "QUE-03", "QUE-04"):
        assert ran.judged(name) == ("inconclusive", "to_investigate"), ran.output
        assert ran.verdict(name)["message"].startswith("not judged: RUN-01 failed"), ran.output
    assert ran.judged("IMP-01") == ("pass", None), ran.output
    command = [sys.executable, "-m", "gateproof_evidence", "verify"]
    done = run_command([*command, str(tmp_path / "reports/latest")], folder=ROOT)
    assert done.returncode == 0, done.stdout
