"""Gate import: the worker's modules import anywhere, and their import has no side effects."""

from __future__ import annotations

from gateproof import (
    ProcessProbe,
    Sut,
    at_least_one,
    claim,
    criterion,
    premise,
)

from .fresh import claim_imported, import_in_fresh_interpreter

MISSING = "tasks that are not registered"
FURTHER = "tasks beyond the contract, with its prefix"
KINDS = ("connect", "bind", "thread", "process")


@criterion("IMP-01", needs=("celery.worker_module", "worker"))
def test_worker_module_imports_without_services(commands: ProcessProbe, sut: Sut) -> None:
    """The module imports with nothing set, and with a DSN without a server; eager mode is off."""
    for how, dsn in (
        ("with nothing set", ()),
        ("with no server at its DSN", tuple(sut.worker.dsn)),
    ):
        report = import_in_fresh_interpreter(commands, sut, dsn=dsn)
        claim_imported(report, how=how)
        if claim("app that the import gives", on=how, got="eager" in report, expected=True):
            claim("eager mode", on=how, got=report["eager"], expected=False)


@criterion("IMP-02", needs=("celery.worker_module", "worker"))
def test_import_connects_to_nothing_and_starts_nothing(commands: ProcessProbe, sut: Sut) -> None:
    """By three observations, each shown to work, the import connects to and starts nothing."""
    report = import_in_fresh_interpreter(commands, sut, dsn=tuple(sut.worker.dsn), service=True)
    claim_imported(report, how="with something that listens at its DSN")
    control, seen = report["control"], report["seen"]
    recorded = {event.partition(":")[0] for event in control["events"]}
    missed = [kind for kind in KINDS if kind not in recorded]
    premise("side effects that the audit hook misses", got=missed, expected=[])
    premise("connections of the control", got=control["connections"], expected=1)
    left = {"sockets": 2, "threads": 1}
    premise("left open by the control", got=control["left"], expected=left)
    claim("side effects of the import", got=seen["events"], expected=[])
    claim("connections that the import made", got=seen["connections"], expected=0)
    claim("left open by the import", got=seen["left"], expected={"sockets": 0, "threads": 0})


@criterion("IMP-03", needs=("celery.worker_module", "task"))
def test_tasks_are_registered_under_their_exact_names(commands: ProcessProbe, sut: Sut) -> None:
    """The app registers the contract's tasks by name, and no other task with their prefix."""
    report = import_in_fresh_interpreter(commands, sut)
    claim_imported(report, how="with nothing set")
    expected = sorted(sut.tasks)
    at_least_one(f"{sut.path.name}: tasks of the queues", expected)
    known = [name for name in report.get("tasks", ()) if name.startswith(sut.celery.task_prefix)]
    missing = [name for name in expected if name not in known]
    claim(MISSING, got=missing, expected=[], over=expected)
    claim(FURTHER, got=[name for name in known if name not in expected], expected=[])
