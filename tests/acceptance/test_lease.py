"""Checks about killed workers and finished tasks watch for the described lease."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.conftest import break_file, judge_copy

LOSS = "runtime/test_loss.py"
DESCRIBED = "lease_s = 3.0                           # system/transport/options.py"
ACKNOWLEDGED = (
    '"DELETE FROM kombu_message WHERE id = ANY(CAST(:ids AS bigint[])) AND claimed_by = :me"\n'
    '    " RETURNING id"'
)
COMES_BACK = (
    '"UPDATE kombu_message SET claimed_by = NULL, lease_until = NULL, deliveries = 0,"\n'
    "    \" available_at = clock_timestamp() + interval '{} s'\"\n"
    '    " WHERE id = ANY(CAST(:ids AS bigint[])) AND claimed_by = :me RETURNING id"'
)
"""An acknowledgement that schedules the message again."""


def change_lease(copy: Path, code: str, described: str) -> None:
    """Change the lease of a copy of the system, and its description."""
    break_file(copy / "system/transport/options.py", "    lease: float = 3.0\n", code)
    break_file(copy / "system/sut.toml", DESCRIBED, described)


def test_finished_tasks_are_watched_for_three_leases(system_copy: Path, tmp_path: Path) -> None:
    """With a lease of 7 s, a task that runs again 30 s after its end is found.

    With the nine seconds of a lease of 3 s, both times of watching would have passed before.
    """
    change_lease(system_copy, "    lease: float = 7.0\n", "lease_s = 7.0")
    statements = system_copy / "system/transport/statements.py"
    break_file(statements, ACKNOWLEDGED, COMES_BACK.format(30))
    ran = judge_copy(system_copy, tmp_path, LOSS)
    assert ran.judged("RUN-07") == ("fail", "gate_violation"), ran.output
    assert "ends of finished tasks" in ran.verdict("RUN-07")["message"]


def test_lease_that_is_too_long_to_wait_for_is_not_judged(
    system_copy: Path, tmp_path: Path
) -> None:
    """The criteria are inconclusive, and the message names the key that would make them judged."""
    change_lease(system_copy, "    lease: float = 3600.0\n", "lease_s = 3600.0")
    ran = judge_copy(system_copy, tmp_path, LOSS)
    for name in ("RUN-05", "RUN-07"):
        assert ran.verdict(name)["outcome"] == "inconclusive", ran.output
        assert "broker.lease_env: got none with a lease of 3600 s" in ran.verdict(name)["message"]


def test_long_lease_is_shortened_by_its_variable(system_copy: Path, tmp_path: Path) -> None:
    """Workers of these checks get the variable: a killed worker's tasks come back in time."""
    code = "    lease: float = float(__import__('os').environ.get('SYSTEM_LEASE', '3600'))\n"
    change_lease(system_copy, code, 'lease_s = 3600.0\nlease_env = "SYSTEM_LEASE"')
    ran = judge_copy(system_copy, tmp_path, LOSS)
    assert ran.judged("RUN-05") == ("pass", None), ran.output
    assert ran.judged("RUN-07") == ("pass", None), ran.output
