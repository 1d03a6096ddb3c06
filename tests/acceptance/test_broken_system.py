"""A broken system: the gates fail on the right criteria, and name the system as the cause."""

from __future__ import annotations

from pathlib import Path

from gates.taxonomy.miniature import Miniature
from tests.acceptance.conftest import break_file, judge_copy

NAMES = ("imports", "queues/test_names.py", "queues/test_routing.py")
DEAD_LETTERS = ("dlq/test_capture.py", "dlq/test_table.py", "dlq/test_rename.py")
HEALTH = ("observability/test_health.py",)
TENANCY = ("rls",)
VIOLATION = ("fail", "gate_violation")


def violations(ran: Miniature, *, unjudged: frozenset[str] = frozenset()) -> set[str]:
    """Return the criteria that failed; assert that each red criterion is a violation.

    Args:
        ran: the run.
        unjudged: the criteria of which a premise must have failed, so that they are inconclusive.

    """
    red = [one for one in ran.run["criteria"] if one["outcome"] not in ("pass", "notselected")]
    failed = [one for one in red if one["id"] not in unjudged]
    left = {one["id"]: (one["outcome"], one["message"][:9]) for one in red if one not in failed}
    assert left == dict.fromkeys(unjudged, ("inconclusive", "premise: ")), ran.output
    assert all((one["outcome"], one["cause"]) == VIOLATION for one in failed), ran.output
    assert ran.exit_status == (1 if failed else 100), ran.output
    return {one["id"] for one in failed}


DEFECTS = (
    (
        "migrations/versions/ingestion/ingestion_0001_events.py",
        "ON attribution_events TO app_user, app_rw, app_ro, app_ingest;",
        "ON attribution_events USING (false);",
    ),
    (
        "system/tasks/llm.py",
        'name="app.tasks.llm.investigation"',
        'name="app.tasks.llm.investigate"',
    ),
    (
        "system/dead_letters/capture/__init__.py",
        "    ReportingBackend.observer = Observer()\n",
        "",
    ),
    (
        "system/observability/health.py",
        "parts = {check.name: OK if healthy else ERROR for check, healthy in asked}",
        "parts = {check.name: OK for check, _ in asked}",
    ),
)
"""A policy that shows a tenant no row, not even its own; a task that is
missing under its documented name; failures that are reported but leave no dead-letter row; and a
health endpoint that always reports ok. Each belongs to another gate."""

RED = {
    "RLS": {"RLS-01", "RLS-02"},
    "IMP": {"IMP-03"},
    "QUE": {"QUE-04"},
    "DLQ": {"DLQ-03", "DLQ-04", "DLQ-05", "DLQ-06"},
    "OBS": {"OBS-05"},
}
"""The criteria that must fail, at least."""
GREEN = {
    *("IMP-01", "IMP-02", "QUE-01", "QUE-03", "DLQ-01", "DLQ-02", "DLQ-11", "DLQ-12"),
    "RLS-12",  # messages and results have no policy
    "OBS-04",  # a constant ok is right while every dependency works
}


def test_each_defect_fails_the_criteria_of_its_gate_alone(
    system_copy: Path, tmp_path: Path
) -> None:
    """With four defects, the criteria that they break fail and their neighbours pass.

    Which roles see a row without a tenant cannot be judged where no row is written. The bundle
    names no commit, because the copy is no git checkout.
    """
    for file, before, after in DEFECTS:
        break_file(system_copy / file, before, after)
    ran = judge_copy(system_copy, tmp_path, *NAMES, *DEAD_LETTERS, *HEALTH, *TENANCY)
    red = violations(ran, unjudged=frozenset({"DLQ-14"}))
    for gate, expected in RED.items():
        assert expected <= {one for one in red if one.startswith(gate)}, ran.output
    assert not red & GREEN, ran.output
    passed = {one["id"] for one in ran.run["criteria"] if one["outcome"] == "pass"}
    assert passed >= GREEN, ran.output
    assert ran.run["bindings"]["commit"] is None


def test_endpoint_that_is_not_there_is_one_finding(system_copy: Path, tmp_path: Path) -> None:
    """A wrong path of the metrics is named by its key, not by counts of zero."""
    break_file(system_copy / "system/sut.toml", 'path = "/metrics"', 'path = "/measures"')
    ran = judge_copy(system_copy, tmp_path, "observability/test_metrics.py")
    for name in ("OBS-01", "OBS-02", "OBS-03"):
        verdict = ran.verdict(name)
        assert ran.judged(name) == VIOLATION, ran.output
        assert "correct metrics.path or worker.port in sut.toml" in verdict["message"], ran.output
        assert "got status 404" in verdict["message"], ran.output
        assert not [one for one in verdict["claims"] if not one["holds"]], ran.output


def test_wrong_name_of_a_field_is_named_by_its_key(system_copy: Path, tmp_path: Path) -> None:
    """A field that no log line has is a wrong description, and no defect of the check."""
    break_file(system_copy / "system/sut.toml", 'timestamp = "timestamp"', 'timestamp = "stamp"')
    ran = judge_copy(system_copy, tmp_path, "runtime/test_time.py")
    verdict = ran.verdict("RUN-09")
    assert verdict["outcome"] == "notdescribed", ran.output
    expected = "logs.timestamp: got the name stamp, expected one that exists; correct the name"
    assert expected in verdict["message"], ran.output
