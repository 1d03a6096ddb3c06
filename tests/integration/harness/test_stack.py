"""Stacks: real databases and workers, isolated from each other."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql as pgsql

from gateproof.base.errors import EnvironmentProblemError, HarnessError, NotReadyError
from gateproof.probes.sql import Refused, SqlProbe
from gateproof.probes.task import EagerModeError
from gateproof.stack.bring_up import BringUp
from gateproof.stack.stack import Stack

EVENTS = "SELECT count(*) FROM attribution_events"
INSERT = "INSERT INTO attribution_events (tenant_id, event_type) VALUES (gen_random_uuid(), 'view')"


def test_stack_has_a_database_of_its_own(brought_up: BringUp, own: Stack) -> None:
    """A row that one stack writes is in no other stack."""
    other = brought_up.own_stack()
    own.sql.execute(INSERT)
    assert own.sql.query(EVENTS).scalar() == 1
    assert other.sql.query(EVENTS).scalar() == 0
    other.dispose()


def test_stack_leaves_no_database_behind(brought_up: BringUp) -> None:
    """Disposing of a stack drops every database that it created."""
    stack = brought_up.own_stack()
    names = [stack.database, stack.empty_database(), stack.cloned_database()]
    probe = brought_up.shared().sql
    listed = "SELECT count(*) FROM pg_database WHERE datname = ANY(%s)"
    assert probe.query(listed, (names,)).scalar() == 3
    stack.dispose()
    assert probe.query(listed, (names,)).scalar() == 0


def test_stack_with_a_server_of_its_own_keeps_roles_apart(brought_up: BringUp) -> None:
    """A role that is changed on one server is unchanged on the other."""
    stack = brought_up.own_stack(own_server=True)
    bypass = "SELECT rolbypassrls FROM pg_roles WHERE rolname = 'app_user'"
    stack.sql.execute("ALTER ROLE app_user BYPASSRLS")
    assert stack.sql.query(bypass).scalar() is True
    assert brought_up.shared().sql.query(bypass).scalar() is False
    assert stack.worker.alive, "the copied server must run a whole system"
    stack.dispose()
    stack.server.stop()
    assert not stack.server.answers()


def test_worker_answers_through_the_queue_and_stops_warmly(own: Stack) -> None:
    """A child process answers a ping, and a stop gives exit status 0."""
    worker = own.worker
    result = own.tasks.run(own.sut.ping.task)
    assert result.state == "SUCCESS"
    assert result.value["pid"] != worker.pid
    assert worker.stop() == 0


def test_missing_result_times_out(own: Stack) -> None:
    """Without a worker the result is marked as timed out, and nothing is raised."""
    result = own.tasks.run(own.sut.ping.task, deadline_s=0.3)
    assert result.timed_out
    assert result.state == "PENDING"


def test_worker_that_exits_during_its_start_is_not_ready(own: Stack) -> None:
    """The error has the last line of the worker, and the wait ends at once."""
    worker = own.start_worker(pool="nonsense")
    with pytest.raises(NotReadyError, match=f"{worker.name} exited during its start"):
        own.wait_ready(worker)


def test_eager_mode_is_refused(own: Stack) -> None:
    """A task that ran inside the publisher is refused as evidence."""
    eager = own.publisher({own.sut.worker.eager: "true"})
    with pytest.raises(EagerModeError, match="evidence obtained in eager mode is refused"):
        eager.publish(own.sut.ping.task)


def test_migration_that_fails_returns_its_exit_status(own: Stack) -> None:
    """The system's own command fails for an unknown revision."""
    assert own.migrate("no_such_revision").exit_status != 0
    assert own.migrate(own.sut.migrations.all).exit_status == 0


def test_sql_runs_as_the_given_role(own: Stack) -> None:
    """Each role sees its own name, and an unknown role is refused."""
    for role in own.sut.login_roles:
        assert own.sql.query("SELECT current_user", role=role).scalar() == role
    with pytest.raises(HarnessError, match="role: got unknown_role, expected one of"):
        own.sql.query("SELECT 1", role="unknown_role")


def test_sql_refusal_is_a_value_if_it_is_expected(own: Stack) -> None:
    """`attempt` returns the error of PostgreSQL, and the session stays usable."""
    with own.sql.session(own.sut.worker.role) as session:
        refused = session.attempt("DROP TABLE kombu_message")
        assert isinstance(refused, Refused)
        assert refused.sqlstate == "42501"
        assert session.query("SELECT 1").scalar() == 1
    with pytest.raises(psycopg.Error):
        own.sql.query("SELECT nonsense")


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM alembic_version", "42501"),
        ("SELECT 'x'::uuid", "22P02"),
        ("INSERT INTO kombu_queue (name) SELECT name FROM kombu_queue", "23505"),
        ("SELECT current_setting('app.unset')", "42704"),
    ],
)
def test_sql_refusal_to_a_role_is_a_finding(own: Stack, statement: str, code: str) -> None:
    """`query` raises an assertion that names the role, the statement and the error."""
    own.sql.query("INSERT INTO kombu_queue (name) VALUES ('one')")
    with pytest.raises(AssertionError, match=f"app_user: .*got {code} .*, expected it to be"):
        own.sql.query(statement, role=own.sut.worker.role)


def test_sql_that_is_not_valid_is_no_finding(own: Stack) -> None:
    """A mistake in the statement of a check is not blamed on the system, whatever the role is."""
    with pytest.raises(psycopg.errors.SyntaxError):
        own.sql.query("SELEC 1", role=own.sut.worker.role)


def test_sql_on_a_missing_database_is_an_environment_problem(own: Stack) -> None:
    """A connection that cannot be opened is not blamed on the system."""
    with pytest.raises(EnvironmentProblemError, match="PostgreSQL, as superuser"):
        own.sql_on("no_such_database").query("SELECT 1")


def test_passwords_of_the_run_never_reach_a_capture(own: Stack, brought_up: BringUp) -> None:
    """The output of a command that prints its DSN is recorded without the password."""
    code = "import os; print(os.environ['DATABASE_URL'])"
    done = own.process.run(
        [sys.executable, "-c", code], env=own.worker_environment(), folder=own.sut.folder
    )
    password = brought_up.logins[own.sut.worker.role].password
    assert password in done.output, "premise: the command printed it"
    assert own.process.last_redactions
    data = brought_up.recorder.journal.path.parent
    written = [path for path in data.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if password.encode() in path.read_bytes()]


def test_probe_looks_names_up_in_the_described_schemas(own: Stack) -> None:
    """A session resolves a name without schema as the system does, however schemas are called."""
    first, second = 'odd "name\\', "with a blank"
    probe = SqlProbe(own.recorder, own.dsn, schemas=(first, second))
    for name in (first, second):
        quoted = pgsql.Identifier(name).as_string()
        probe.execute(f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.found AS SELECT 1 AS one")
    found = probe.query("SELECT 'found'::regclass::oid::regclass::text").scalar()
    schemas = probe.query("SELECT current_schemas(false)").scalar()
    assert (found, schemas) == ("found", [first, second])
    assert own.sql.query("SELECT to_regclass('found')").scalar() is None


BACKEND = "SELECT pg_backend_pid()"


def test_reads_share_a_session_and_find_it_as_if_it_were_new(own: Stack) -> None:
    """A setting, an advisory lock and a listener of one read are gone at the next one."""
    first = own.sql.query(BACKEND).scalar()
    own.sql.query("SELECT set_config('lock_timeout', '7s', false), pg_advisory_lock(1)")
    assert own.sql.query(BACKEND).scalar() == first, "premise: they share it"
    assert own.sql.query("SELECT current_setting('lock_timeout')").scalar() == "0"
    assert own.sql.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").scalar() == 0


@pytest.mark.parametrize("how", ["query", "execute", "session"])
def test_read_after_a_change_of_defaults_has_them(own: Stack, how: str) -> None:
    """A default of the database that a statement changes holds for the next read."""
    shown = "SELECT current_setting('statement_timeout')"
    assert own.sql.query(shown).scalar() == "0"
    change = f"ALTER DATABASE {own.database} SET statement_timeout = '61s'"
    if how == "session":
        with own.sql.session(autocommit=True) as session:
            session.query(change)
    else:
        getattr(own.sql, how)(change)
    assert own.sql.query(shown).scalar() == "61s"


def test_read_after_the_server_ended_its_session_is_answered(own: Stack) -> None:
    """A shared session that the server has ended is replaced, and no read fails by it."""
    pid = own.sql.query(BACKEND).scalar()
    ended = own.sql_on("postgres").query("SELECT pg_terminate_backend(%s, 5000)", (pid,)).scalar()
    assert ended, "premise: the server ended it"
    assert own.sql.query(BACKEND).scalar() != pid


def test_reads_of_two_threads_do_not_share_a_session(own: Stack) -> None:
    """Two reads at once have a session each."""
    both = "SELECT pg_backend_pid(), pg_sleep(0.3)"
    with ThreadPoolExecutor(2) as pool:
        pids = {rows.scalar() for rows in pool.map(own.sql.query, (both, both))}
    assert len(pids) == 2
