"""Whole runs on descriptions that lack features, or name what does not exist."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof.description.sut import Sut
from gates.taxonomy.miniature import Miniature, write_miniature
from tests.acceptance.conftest import break_file

Run = Callable[..., Miniature]
TWO = ("MIN-01", "MIN-02")

LACKING = """
from gateproof import falsified_by, source

@criterion("MIN-01")
@falsified_by(
    source("marked", "system/worker.py", append="# a mark", imports=False),
    expect=("marks", "worker.py"),
)
def test_worker_file(files):
    marks = files.read("system/worker.py").count("# a mark")
    claim("marks", on="worker.py", got=marks, expected=0)

@pytest.fixture
def never(own_stack):
    raise RuntimeError("this fixture must not be set up")

@criterion("MIN-02", needs={needs!r})
@falsified_by(
    source("other-mark", "system/app.py", append="# a mark", imports=False),
    expect=("marks", "app.py"),
)
def test_lacking(never):
    pass
"""
"""A proven check, and one that needs a feature."""

ABSENT = """
[[absent]]
feature = "service"
reason = "nothing but PostgreSQL"
owner = "platform team"
expires = "{expires}"
"""

LEFT_OUT = """
[[left_out]]
criterion = "{criterion}"
reason = "not claimed"
owner = "platform team"
expires = "2099-12-31"
"""

READS = """
@criterion("MIN-01")
def test_reads_a_feature_without_naming_it(sut, commands):
    observe(commands, sut)
    assert sut.service
"""


def describe(sut: Sut, folder: Path, *, needs: str, more: str = "") -> Path:
    """Write the miniature gates, and more lines at the end of its description."""
    write_miniature(sut, folder, checks=LACKING.format(needs=needs), ids=TWO)
    described = folder / "sut.toml"
    described.write_text(described.read_text(encoding="utf-8") + more, encoding="utf-8")
    return described


def test_criterion_of_a_feature_that_is_not_described_leaves_the_run_partial(
    run_gates: Run, sut: Sut, tmp_path: Path
) -> None:
    """Neither fixture nor proof of its check runs, and everything else is proven."""
    describe(sut, tmp_path, needs="service")
    ran = run_gates("", TWO)
    assert ran.judged("MIN-02") == ("notdescribed", None), ran.output
    assert "service: got no such key" in ran.verdict("MIN-02")["message"]
    assert (ran.exit_status, ran.run["result"]) == (100, "partial"), ran.output
    assert ran.verdict("MIN-01")["falsification"] == "proven", ran.output
    assert ran.verdict("MIN-02")["needs"] == ["service"]
    assert not any(one["landed"] for one in ran.verdict("MIN-02")["proofs"])


@pytest.mark.parametrize("processes", [(), ("-n", "1")])
def test_criterion_of_an_absent_feature_blocks_nothing(
    run_gates: Run, sut: Sut, tmp_path: Path, processes: tuple[str, ...]
) -> None:
    """The run is released, and the statement of absence is next to its result."""
    describe(sut, tmp_path, needs="service", more=ABSENT.format(expires="2999-12-31"))
    ran = run_gates("", TWO, *processes)
    assert ran.judged("MIN-02") == ("notapplicable", None), ran.output
    assert (ran.exit_status, ran.run["result"]) == (0, "released"), ran.output
    assert ran.run["absences"] == [
        {
            "feature": "service",
            "reason": "nothing but PostgreSQL",
            "owner": "platform team",
            "expires": "2999-12-31",
        }
    ]
    assert "declared absent: service: nothing but PostgreSQL" in " ".join(ran.output.split())


def test_expired_absence_is_reported_and_does_not_count(
    run_gates: Run, sut: Sut, tmp_path: Path
) -> None:
    """The criterion is not described, as without the statement; a warning says why."""
    describe(sut, tmp_path, needs="service", more=ABSENT.format(expires="2020-12-31"))
    ran = run_gates("", TWO, "--no-falsify")
    assert ran.judged("MIN-02") == ("notdescribed", None), ran.output
    assert "WARNING: absent: service: expired on 2020-12-31" in ran.output
    assert ran.run["absences"] == []


def test_criterion_for_another_broker_does_not_apply(
    run_gates: Run, sut: Sut, tmp_path: Path
) -> None:
    """A need with another value than the system's is no failure, and needs no statement."""
    describe(sut, tmp_path, needs="broker.kind=redis")
    ran = run_gates("", TWO)
    assert ran.judged("MIN-02") == ("notapplicable", None), ran.output
    assert "broker.kind: got sqla, expected redis" in ran.verdict("MIN-02")["message"]
    assert ran.exit_status == 0, ran.output


def test_need_that_no_description_can_have_is_bad_input(
    run_gates: Run, sut: Sut, tmp_path: Path
) -> None:
    """A misspelt need would make its criterion not described on every system."""
    describe(sut, tmp_path, needs="proces")
    ran = run_gates("", TWO)
    assert ran.exit_status == 4, ran.output
    assert "needs: got 'proces', expected a key of a description such as process" in ran.output


def test_feature_that_is_read_without_a_need_is_not_described(run_gates: Run) -> None:
    """A check that forgot to name its need is neither a failure nor a defect."""
    ran = run_gates(READS, ("MIN-01",), "--no-falsify")
    assert ran.judged("MIN-01") == ("notdescribed", None), ran.output


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            '    "attribution_events", "attribution_recompute_jobs",',
            '    "attribution_event", "attribution_recompute_jobs",',
            "tenancy.tables: got the table attribution_event, expected one that exists, such as",
        ),
        (
            'reader = "app_ro"',
            'reader = "app_reader"',
            "dead_letters.reader: got the role app_reader, expected one that exists, such as",
        ),
    ],
)
@pytest.mark.parametrize("processes", [(), ("-n", "1")])
def test_name_that_does_not_exist_is_refused_before_checks_start(
    run_gates: Run,
    sut: Sut,
    tmp_path: Path,
    before: str,
    after: str,
    message: str,
    processes: tuple[str, ...],
) -> None:
    """A role or table that the database does not have is bad input, and leaves no bundle."""
    checks = '@criterion("MIN-01")\ndef test_any(stack):\n    stack.sql.query("SELECT 1")\n'
    write_miniature(sut, tmp_path, checks=checks, ids=("MIN-01",))
    break_file(tmp_path / "sut.toml", before, after)
    ran = run_gates("", ("MIN-01",), *processes)
    assert ran.exit_status == 4, ran.output
    assert message in " ".join(ran.output.split()), ran.output
    assert ran.run == {}


def test_task_marked_never_is_never_published(run_gates: Run, sut: Sut, tmp_path: Path) -> None:
    """A check that publishes it is stopped before the publisher gets it."""
    task = "app.tasks.maintenance.delete_old_dead_letters"
    checks = f'@criterion("MIN-01")\ndef test_any(stack):\n    stack.tasks.publish("{task}")\n'
    write_miniature(sut, tmp_path, checks=checks, ids=("MIN-01",))
    line = f'"{task}" = {{ queue = "maintenance"'
    break_file(tmp_path / "sut.toml", line, f"{line}, never = true")
    ran = run_gates("", ("MIN-01",), "--no-falsify")
    assert ran.judged("MIN-01") == ("error", "harness_defect"), ran.output
    assert f"publish {task}: got a task with `never = true`" in ran.verdict("MIN-01")["message"]


def test_criterion_that_is_left_out_does_not_run_and_blocks_nothing(
    run_gates: Run, sut: Sut, tmp_path: Path
) -> None:
    """The decision is in the run's record, and the rest is released."""
    describe(sut, tmp_path, needs="name", more=LEFT_OUT.format(criterion="MIN-02"))
    ran = run_gates("", TWO)
    assert ran.judged("MIN-02") == ("notapplicable", None), ran.output
    assert "criterion MIN-02: not claimed (platform team, until 2099-12-31)" in ran.output
    assert ran.exit_status == 0, ran.output


def test_left_out_criterion_that_does_not_exist_is_bad_input(
    run_gates: Run, sut: Sut, tmp_path: Path
) -> None:
    """A misspelt id must not leave the criterion in force unnoticed."""
    describe(sut, tmp_path, needs="name", more=LEFT_OUT.format(criterion="MIN-20"))
    ran = run_gates("", TWO)
    assert ran.exit_status == 4, ran.output
    assert "left_out: criterion: got MIN-20, expected an id of the catalogue" in ran.output
