"""Faults of a system that must be found as its own, and systems that are right and must pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import break_file, judge_copy

WRITES, VISIBILITY = "rls/test_writes.py", "rls/test_visibility.py"
MIGRATIONS, PRIVILEGES = "schema/test_migrations.py", "schema/test_privileges.py"
EVENTS = "migrations/versions/core/core_0001_attribution_events.py"
GRANT = "GRANT SELECT, INSERT, UPDATE, DELETE ON attribution_events TO app_user"


def test_tenant_table_that_another_references_is_judged(system_copy: Path, tmp_path: Path) -> None:
    """A foreign key to a tenant table is no fault: the checks that empty the table pass."""
    break_file(
        system_copy / EVENTS,
        GRANT,
        f"CREATE TABLE event_notes (event_id uuid REFERENCES attribution_events);\n{GRANT}",
    )
    ran = judge_copy(system_copy, tmp_path, WRITES, VISIBILITY)
    found = {name: ran.judged(name) for name in ("RLS-02", "RLS-04", "RLS-05")}
    assert found == dict.fromkeys(found, ("pass", None)), ran.output


def test_query_that_is_refused_to_a_role_is_a_violation(system_copy: Path, tmp_path: Path) -> None:
    """Roles that may not read a tenant table are a finding, which names role and table."""
    break_file(system_copy / EVENTS, GRANT, GRANT.replace("SELECT, ", ""))
    ran = judge_copy(system_copy, tmp_path, VISIBILITY)
    for name in ("RLS-02", "RLS-04"):
        assert ran.judged(name) == ("fail", "gate_violation"), ran.output
        refusal = "got 42501 permission denied for table attribution_events"
        message = ran.verdict(name)["message"]
        assert message.startswith("rows that the role sees"), message
        assert ": app_user/attribution_events" in message, message
        assert refusal in message, message


def test_role_that_may_not_connect_is_a_violation(system_copy: Path, tmp_path: Path) -> None:
    """A role that is refused the database is a finding, while PostgreSQL answers others."""
    path = system_copy / "migrations/provision/database.sql"
    break_file(path, "app_rw, app_ro',", "app_rw',")
    ran = judge_copy(system_copy, tmp_path, VISIBILITY)
    assert ran.judged("RLS-02") == ("fail", "gate_violation"), ran.output
    assert "app_ro: connect to the database: got 42501" in ran.verdict("RLS-02")["message"]


def test_failed_migration_is_a_violation_with_the_message_of_the_database(
    system_copy: Path, tmp_path: Path
) -> None:
    """SCH-01 fails when `upgrade heads` does, and every message has the cause and not a link."""
    break_file(system_copy / EVENTS, "gen_random_uuid()", "uuid_generate_v4()")
    ran = judge_copy(system_copy, tmp_path, MIGRATIONS, PRIVILEGES)
    cause = "(psycopg2.errors.UndefinedFunction) function uuid_generate_v4() does not exist"
    assert ran.judged("SCH-01") == ("fail", "gate_violation"), ran.output
    assert "upgrade heads/empty database: got exit 1" in ran.verdict("SCH-01")["message"]
    assert cause in ran.verdict("SCH-01")["message"]
    assert ran.verdict("SCH-02")["outcome"] == "error", ran.output
    assert cause in ran.verdict("SCH-02")["message"]
    messages = [verdict["message"] for verdict in ran.run["criteria"]]
    assert not any("Background on this error" in message for message in messages)


def test_branch_without_the_tables_of_celery_is_judged(system_copy: Path, tmp_path: Path) -> None:
    """Of several branches one creates Celery's tables; the others need not."""
    break_file(
        system_copy / "system/sut.toml",
        'branches = ["celery_foundation@head", "core@head"]',
        'branches = ["core@head", "celery_foundation@head"]',
    )
    ran = judge_copy(system_copy, tmp_path, MIGRATIONS)
    assert ran.judged("SCH-01") == ("pass", None), ran.output


@pytest.mark.parametrize("place", ["provisioning", "migration"])
def test_missing_extension_is_a_problem_of_the_environment(
    system_copy: Path, tmp_path: Path, place: str
) -> None:
    """A server without an extension is at fault, in one message that says how to name another."""
    statement = "CREATE EXTENSION no_such_vector;"
    if place == "migration":
        break_file(system_copy / EVENTS, GRANT, f"{statement}\n{GRANT}")
    else:
        path = system_copy / "migrations/provision/database.sql"
        path.write_text(f"{statement}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    ran = judge_copy(system_copy, tmp_path, VISIBILITY)
    judged = [verdict for verdict in ran.run["criteria"] if verdict["outcome"] != "notselected"]
    assert {verdict["cause"] for verdict in judged} == {"environment_problem"}, ran.output
    [message] = {
        verdict["message"].partition("in setup: ")[2] or verdict["message"] for verdict in judged
    }
    assert message.startswith("PostgreSQL's extension no_such_vector: got none on this server")
    assert "--postgres-bin" in message
    assert ran.exit_status == 102
