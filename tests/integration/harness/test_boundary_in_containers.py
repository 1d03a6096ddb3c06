"""Probe tasks and boundary faults in the environment `containers`, if an engine answers."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof import Worker, http, inject, logs, message
from gateproof.base.errors import EnvironmentProblemError
from gateproof.description.reading import load_sut
from gateproof.environments.containers.environment import Containers
from gateproof.environments.engine import find_engine
from gateproof.faults.interface import Fault
from gateproof.probes.recorder import Recorder
from gateproof.stack.bring_up import BringUp
from gateproof.stack.copy import Copy
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.redaction.redactor import Redactor

ROOT = Path(__file__).parents[3]
POSTGRES = "postgres:15-bookworm"
PREFIX = "gateproof.probe."


@pytest.fixture(scope="module")
def contained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BringUp]:
    """The reference system in containers, with the probe tasks."""
    try:
        find_engine()
    except EnvironmentProblemError as error:
        pytest.skip(str(error))
    data = tmp_path_factory.mktemp("data")
    text = (ROOT / "system" / "sut.toml").read_text(encoding="utf-8")
    head, _, rest = text.partition("[ping]")
    text = head.replace("[worker]\n", '[worker]\nprobe = "inject"\n') + rest[rest.index("[task]") :]
    path = data / "sut.toml"
    path.write_text(text.replace('root = ".."', f'root = "{ROOT}"'), encoding="utf-8")
    redactor, sut = Redactor(), load_sut(path)
    journal = Journal(data / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC))
    made = BringUp(
        environment=Containers(
            reason="a test", sut=sut, postgres_image=POSTGRES, learn_secret=redactor.add_secret
        ),
        sut=sut,
        recorder=Recorder(journal, redactor, data),
        ready_deadline_s=60,
        progress=lambda _: None,
        learn_secret=redactor.add_secret,
    )
    yield made
    made.dispose()
    journal.close()


def test_probe_tasks_run_in_containers(contained: BringUp) -> None:
    """A worker in the system's image pings, fails, retries and queries."""
    stack = contained.own_stack()
    for pool in ("prefork", "threads"):
        with stack.running_worker(pool=pool, concurrency=2) as worker:
            stack.wait_ready(worker)
            run = stack.tasks.run
            assert run(f"{PREFIX}ping").value["status"] == "ok"
            assert run(f"{PREFIX}fail").value["exception"] == "ProbeFailureError"
            assert run(f"{PREFIX}retry").value["attempts"] == 2
            assert run(f"{PREFIX}query").value["current_user"] == stack.sut.worker.role
    stack.dispose()


@pytest.mark.parametrize("on_machine", [True, False])
def test_changed_code_is_imported_where_the_check_runs_it(
    contained: BringUp, *, on_machine: bool
) -> None:
    """A tool of the developers, such as a command on contracts, is not imported in the image."""
    copy = Copy.make(
        contained, tree="system", own_server=False, needs_stack=False, on_machine=on_machine
    )
    code = "import pathlib, socket, system; print(socket.gethostname(), system.__file__)"
    done = copy.run_python(code, tree="system")
    assert done.exit_status == 0, done.output
    host, file = done.output.split()
    assert (host == socket.gethostname()) is on_machine
    assert Path(file).parent == copy.sut.folder / "system"
    copy.dispose()


def shown_by(copy: Copy, worker: Worker) -> str:
    """Return which of the things that the faults change can be seen: none, or what it is."""
    stack, names = copy.stack, copy.sut.logs
    task_id = stack.tasks.publish("app.tasks.housekeeping.ping")
    if stack.tasks.result(task_id, deadline_s=5.0).timed_out:
        return "no result"
    found = worker.wait_log(deadline_s=3.0, **{names.task_id: task_id})
    if not found.matching(**{names.task_id: task_id}):
        return "no line"
    return "another status" if stack.http.get(worker.health_url).status != 200 else "nothing"


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (inject("ignored", "configure", task_ignore_result=True), "no result"),
        (message("dropped", "drop"), "no result"),
        (http("down", "health", status=503), "another status"),
        (logs("left-out", "drop", field="task_id"), "no line"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_boundary_fault_lands_in_containers(contained: BringUp, fault: Fault, shown: str) -> None:
    """An inert change shows nothing; the fault lands, and shows what it is for."""
    copy = Copy.make(contained, tree=None, own_server=False, needs_stack=True)
    fault.prepare(copy)

    def seen() -> str:
        with copy.stack.running_worker(pool="solo") as worker:
            worker.report()
            return shown_by(copy, worker)

    assert fault.change_inertly(copy)
    assert seen() == "nothing"
    before = fault.fingerprint(copy)
    fault.inject(copy)
    assert fault.fingerprint(copy) != before
    assert seen() == shown
    copy.dispose()
