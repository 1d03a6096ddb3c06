"""Gate import: what it takes to import the worker's modules, and what that sets off."""

from __future__ import annotations

from gates.imports.fresh import assert_imported, import_in_fresh_interpreter
from harness import criterion
from harness.probes.process import ProcessProbe
from harness.sut import Sut

KINDS = ("connect", "bind", "thread", "process")


@criterion("IMP-01")
def test_worker_module_imports_without_services(commands: ProcessProbe, sut: Sut) -> None:
    """It imports with nothing set, and with a DSN at which nobody answers; eager mode is off."""
    for how, dsn in (
        ("with nothing set", ()),
        ("with nobody at its DSN", tuple(sut.worker.dsn)),
    ):
        told = import_in_fresh_interpreter(commands, sut, dsn=dsn)
        assert_imported(told, how=how)
        assert "eager" in told, f"{sut.celery.app} {how}: got no such app, expected one to import"
        assert told["eager"] is False, f"eager mode {how}: got {told['eager']}, expected False"


@criterion("IMP-02")
def test_import_connects_to_nothing_and_starts_nothing(commands: ProcessProbe, sut: Sut) -> None:
    """Watched in three ways, each shown to see, the import connects to and starts nothing."""
    told = import_in_fresh_interpreter(commands, sut, dsn=tuple(sut.worker.dsn), service=True)
    assert_imported(told, how="with something that listens at its DSN")
    control, seen = told["control"], told["seen"]
    heard = {event.partition(":")[0] for event in control["events"]}
    deaf = [kind for kind in KINDS if kind not in heard]
    assert not deaf, f"what the audit hook does not hear: got {deaf}, expected nothing"
    assert control["connections"] == 1, (
        f"connections that the listener saw: got {control['connections']}, expected the one made"
    )
    left = control["left"]
    assert left == {"sockets": 2, "threads": 1}, (
        f"what was seen to be left: got {left}, expected the two sockets and the thread made"
    )
    assert not seen["events"], (
        f"import of the worker: got {'; '.join(seen['events'])}, expected it to start nothing"
    )
    assert seen["connections"] == 0, (
        f"connections that the import made: got {seen['connections']}, expected 0"
    )
    assert seen["left"] == {"sockets": 0, "threads": 0}, (
        f"what the import left behind: got {seen['left']}, expected no socket and no thread"
    )


@criterion("IMP-03")
def test_tasks_are_registered_under_their_exact_names(commands: ProcessProbe, sut: Sut) -> None:
    """The app knows the contract's tasks by their names, and no other task with their prefix."""
    told = import_in_fresh_interpreter(commands, sut)
    assert_imported(told, how="with nothing set")
    expected = sorted(sut.tasks)
    assert expected, "tasks of the contract: got none, expected those of the description"
    known = [name for name in told.get("tasks", ()) if name.startswith(sut.celery.task_prefix)]
    missing = [name for name in expected if name not in known]
    assert not missing, f"tasks that are not registered: got {missing}, expected none"
    further = [name for name in known if name not in expected]
    assert not further, (
        f"tasks beyond the contract: got {further}, expected none with {sut.celery.task_prefix}"
    )
