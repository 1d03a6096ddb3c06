"""Faults change a throw-away copy, show their effect there, and do not affect other stacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from gateproof import file, migration, network, process, settings, source, sql
from gateproof.base.errors import HarnessError
from gateproof.faults.interface import Fault
from gateproof.probes.sql import SqlProbe
from gateproof.stack.bring_up import BringUp
from gateproof.stack.copy import Copy

MakeCopy = Callable[[Fault], Copy]
PING = "app.tasks.housekeeping.ping"
HEALTH = "system/observability/health.py"


@pytest.fixture
def make_copy(brought_up: BringUp) -> Iterator[MakeCopy]:
    """Creates and prepares the copy that a fault needs."""
    made: list[Copy] = []

    def make(fault: Fault) -> Copy:
        own_server = fault.scope == "server"
        copy = Copy.make(brought_up, tree=fault.tree, own_server=own_server, needs_stack=True)
        made.append(copy)
        fault.prepare(copy)
        return copy

    yield make
    for copy in made:
        copy.dispose()


def landed(fault: Fault, copy: Copy) -> tuple[str, str]:
    """Inject a fault; return its fingerprints before and after."""
    before = fault.fingerprint(copy)
    fault.inject(copy)
    return before, fault.fingerprint(copy)


def answers(copy: Copy, deadline_s: float) -> bool:
    """Return whether the worker answers a ping."""
    task_id = copy.stack.tasks.publish(PING)
    return not copy.stack.tasks.result(task_id, deadline_s=deadline_s).timed_out


def test_sql_fault_changes_only_the_copy(brought_up: BringUp, make_copy: MakeCopy) -> None:
    """A dropped table is missing in the copy and nowhere else."""
    query = "SELECT relname FROM pg_class WHERE relname = 'attribution_events'"
    fault = sql("gone", "DROP TABLE attribution_events CASCADE", landing=query)
    before, after = landed(fault, make_copy(fault))
    assert ("attribution_events" in before, after) == (True, "()")
    assert brought_up.shared().sql.query(query).count == 1


def test_sql_fault_in_new_databases_changes_those_alone(make_copy: MakeCopy) -> None:
    """A database that the check creates has the view before it is migrated, and a plain one not."""
    query = "SELECT viewname FROM pg_views WHERE viewname = 'taken'"
    fault = sql("taken", "CREATE VIEW taken AS SELECT 1 AS n", landing=query, in_new=True)
    copy = make_copy(fault)
    assert landed(fault, copy) == ("()", "(('taken',),)")
    assert copy.stack.sql_on(copy.stack.empty_database()).query(query).count == 1
    assert copy.stack.sql.query(query).count == 0


def test_settings_fault_changes_later_processes(make_copy: MakeCopy) -> None:
    """A process that starts after the fault has the variable, and a worker uses it."""
    fault = settings("no-port", {"CELERY_METRICS_PORT": "loud"})
    copy = make_copy(fault)
    before, after = landed(fault, copy)
    name = "CELERY_METRICS_PORT"
    assert (before, after) == (f'{{"{name}": null}}', f'{{"{name}": "loud"}}')
    worker = copy.stack.start_worker()
    assert worker.wait_exit(deadline_s=30) not in (0, None)
    assert any("got 'loud'" in line for line in worker.log().lines)


def test_copies_start_warm_until_a_variable_is_changed(make_copy: MakeCopy) -> None:
    """A copy's worker is forked, unless Celery has read its variable or a settings fault is on."""
    variables, read = {"ANY": "1"}, {"REMAP_SIGTERM": "SIGQUIT"}
    fault = settings("any", variables)
    stack = make_copy(fault).stack

    def is_forked(**how: Any) -> bool:
        return psutil.Process(stack.start_worker(**how).pid).ppid() != os.getpid()

    before = [is_forked(env=env) for env in ({}, variables, read)]
    stack.change_settings(variables)
    assert (before, is_forked()) == ([True, True, False], False)


def test_source_fault_changes_what_the_worker_runs(make_copy: MakeCopy) -> None:
    """The worker of the copy runs the original code before the fault and the changed code after."""
    fault = source(
        "another-status", "system/tasks/housekeeping.py", '"status": "ok"', '"status": "odd"'
    )
    copy = make_copy(fault)
    assert copy.stack.worker.alive
    statuses = [copy.stack.tasks.run(PING).value["status"]]
    before, after = landed(fault, copy)
    assert copy.stack.worker.alive
    statuses.append(copy.stack.tasks.run(PING).value["status"])
    assert statuses == ["ok", "odd"]
    assert before.startswith("system/tasks/housekeeping.py sha256:")
    assert before != after


def test_source_fault_that_cannot_be_imported_is_refused(make_copy: MakeCopy) -> None:
    """A fault that breaks the import is refused, unless it declares that."""
    broken = source("broken", HEALTH, append="raise RuntimeError('no')")
    with pytest.raises(
        HarnessError, match=r"import of the changed system\.observability\.health: got .*no"
    ):
        broken.inject(make_copy(broken))
    meant = source("meant", HEALTH, append="raise RuntimeError('no')", imports=False)
    before, after = landed(meant, make_copy(meant))
    assert before != after


def test_harness_fault_changes_a_copy_of_the_harness(make_copy: MakeCopy) -> None:
    """The copy has the changed module, and the running harness is unchanged."""
    fault = source(
        "h", "gateproof_evidence/judging/verdict.py", append="CHANGED = True", tree="harness"
    )
    copy = make_copy(fault)
    before, after = landed(fault, copy)
    assert before != after
    seen = "from gateproof_evidence.judging import verdict; print(hasattr(verdict, 'CHANGED'))"
    assert copy.run_python(seen, tree="harness").output.strip() == "True"
    from gateproof_evidence.judging import verdict

    assert not hasattr(verdict, "CHANGED")


def test_file_fault_changes_a_copy_of_the_project(brought_up: BringUp, make_copy: MakeCopy) -> None:
    """The workflow is changed in the copy and unchanged in the project."""
    path = ".github/workflows/gates.yml"
    original = (brought_up.sut.folder / path).read_bytes()
    fault = file("more", path, append="# more")
    copy = make_copy(fault)
    before, after = landed(fault, copy)
    assert before != after
    assert (copy.sut.folder / path).read_bytes() != original
    assert (brought_up.sut.folder / path).read_bytes() == original


REVISION = "migrations/versions/celery_foundation/celery_0001_broker_and_results.py"


def test_migration_fault_rebuilds_the_database(make_copy: MakeCopy) -> None:
    """An index that the changed revision omits is missing in the copy's database."""
    query = "SELECT indexname FROM pg_indexes WHERE indexname = 'ix_kombu_message_visible'"
    index = "CREATE INDEX ix_kombu_message_visible ON kombu_message (visible);\n"
    fault = migration("no-index", REVISION, index, "", landing=query)
    before, after = landed(fault, make_copy(fault))
    assert ("ix_kombu_message_visible" in before, after) == (True, "()")


def test_migration_fault_that_cannot_be_run_is_refused(make_copy: MakeCopy) -> None:
    """A database that could not be built proves nothing about the claim."""
    fault = migration(
        "broken", REVISION, function="upgrade", body="raise ValueError('no')", landing="SELECT 1"
    )
    copy = make_copy(fault)
    with pytest.raises(HarnessError, match=r"migrations: got exit 1, expected 0: .*no"):
        fault.inject(copy)


@pytest.mark.parametrize("act", ["kill", "pause", "stop", "exhaust"])
def test_process_fault_keeps_the_worker_from_answering(make_copy: MakeCopy, act: str) -> None:
    """The worker answers a ping before the fault and not after it, and is not replaced."""
    fault = process("gone", act)  # type: ignore[arg-type]
    copy = make_copy(fault)
    before, after = landed(fault, copy)
    assert before.endswith("runs, a ping comes back")
    assert after.endswith("a ping stays unanswered")
    assert ("ended with" in after) == (act in ("kill", "stop"))
    if act == "pause":
        copy.stack.worker.resume()


@pytest.mark.parametrize(
    ("act", "seen"),
    [("away", "refused"), ("silent", "silent"), ("slow", "answered late"), ("cut", "reset")],
)
def test_network_fault_is_between_system_and_server(
    make_copy: MakeCopy, act: str, seen: str
) -> None:
    """The system is affected by the fault while the harness still reaches the database."""
    fault = network("n", act)  # type: ignore[arg-type]
    copy = make_copy(fault)
    assert copy.stack.worker.alive
    assert answers(copy, 10.0)
    before, after = landed(fault, copy)
    assert before.endswith("a connection is answered")
    assert after.endswith(f"a connection is {seen}")
    assert SqlProbe(copy.bring_up.recorder, copy.stack.dsn).query("SELECT 1").count == 1
