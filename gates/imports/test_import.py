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

from ..publishing import own_tasks
from .faults import (
    adding_a_task,
    app_module,
    connecting,
    demanding_a_home,
    demanding_a_setting,
    demanding_a_variable,
    eager,
    falsified_in_app,
    forgetting_a_task,
    listening,
    starting_a_thread,
)
from .fresh import claim_imported, import_in_fresh_interpreter

RAISED_BY, EAGER = "exception of the import", "eager mode"
CONNECTIONS, EFFECTS = "connections that the import made", "side effects of the import"
MISSING = "tasks that are not registered"
FURTHER = "tasks beyond the contract, with its prefix"
"""Names of claims that falsifiers predict."""

NOTHING_SET, NO_SERVER = "with nothing set", "with no server at its DSN"
BARE = "in an empty environment"
KINDS = ("connect", "bind", "thread", "process")


@criterion("IMP-01", needs=("celery.worker_module", "worker"))
@falsified_in_app(
    "setting-demanded-on-import",
    demanding_a_setting,
    lambda sut: (RAISED_BY, f"{app_module(sut)}/{NOTHING_SET}", "got KeyError"),
    imports=False,
)
@falsified_in_app(
    "server-demanded-on-import",
    connecting,
    lambda sut: (RAISED_BY, f"{app_module(sut)}/{NO_SERVER}", "got ConnectionRefusedError"),
    imports=False,
)
@falsified_in_app(
    "home-demanded-on-import",
    demanding_a_home,
    lambda sut: (RAISED_BY, f"{app_module(sut)}/{BARE}", "got KeyError"),
    imports=False,
)
@falsified_in_app(
    "path-demanded-on-import",
    demanding_a_variable,
    lambda sut: (RAISED_BY, f"{app_module(sut)}/{BARE}", "got IndexError"),
    imports=False,
)
@falsified_in_app("eager-mode-on", eager, lambda _: (EAGER, NOTHING_SET, "got true"))
def test_worker_module_imports_without_services(commands: ProcessProbe, sut: Sut) -> None:
    """The module imports with nothing set, and with a DSN without a server; eager mode is off.

    So it does in an empty environment, as that of a container without a shell.
    """
    for how, dsn in (
        (NOTHING_SET, ()),
        (NO_SERVER, tuple(sut.worker.dsn)),
        (BARE, ()),
    ):
        report = import_in_fresh_interpreter(commands, sut, dsn=dsn, bare=how == BARE)
        if not claim_imported(report, how=how):
            continue
        if claim("app that the import gives", on=how, got="eager" in report, expected=True):
            claim(EAGER, on=how, got=report["eager"], expected=False)


@criterion("IMP-02", needs=("celery.worker_module", "worker"))
@falsified_in_app(
    "connection-on-import", connecting, lambda _: (CONNECTIONS, "", "got 1"), imports=False
)
@falsified_in_app(
    "thread-on-import", starting_a_thread, lambda _: (EFFECTS, "", "got thread: gate.thread")
)
@falsified_in_app("server-on-import", listening, lambda _: (EFFECTS, "", "got bind: socket.bind"))
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
    claim(EFFECTS, got=seen["events"], expected=[])
    claim(CONNECTIONS, got=seen["connections"], expected=0)
    claim("left open by the import", got=seen["left"], expected={"sockets": 0, "threads": 0})


@criterion("IMP-03", needs=("celery.worker_module", "task"))
@falsified_in_app(
    "task-missing", forgetting_a_task, lambda sut: (MISSING, "", f"got {sut.tasks[-1]}")
)
@falsified_in_app(
    "task-added", adding_a_task, lambda sut: (FURTHER, "", f"got {sut.tasks[-1]}_more")
)
def test_tasks_are_registered_under_their_exact_names(commands: ProcessProbe, sut: Sut) -> None:
    """The app registers the contract's tasks by name, and no other task with their prefix."""
    report = import_in_fresh_interpreter(commands, sut)
    if not claim_imported(report, how=NOTHING_SET):
        return
    expected = sorted(sut.tasks)
    at_least_one(f"{sut.path.name}: tasks of the queues", expected)
    known = sorted(own_tasks(sut, report.get("tasks", ())))
    missing = [name for name in expected if name not in known]
    claim(MISSING, got=missing, expected=[], over=expected)
    claim(FURTHER, got=[name for name in known if name not in expected], expected=[])
