"""Gate import: the worker's modules import anywhere, and their import has no side effects."""

from __future__ import annotations

from gateproof import (
    ProcessProbe,
    Sut,
    at_least_one,
    claim,
    criterion,
    falsified_by,
    premise,
    source,
)

from .fresh import claim_imported, import_in_fresh_interpreter

RAISED_BY = "exception of the import"
MISSING = "tasks that are not registered"
FURTHER = "tasks beyond the contract, with its prefix"
KINDS = ("connect", "bind", "thread", "process")


@criterion("IMP-01", needs=("celery.worker_module", "worker"))
@falsified_by(
    source(
        "demand-settings-on-import",
        "system/app.py",
        "        connections, eager, broker_options = None, False, {}\n",
        "        raise\n",
        imports=False,
    ),
    expect=(RAISED_BY, "system.app/with nothing set", "got ConfigurationError"),
)
@falsified_by(
    source(
        "ask-the-database-on-import",
        "system/app.py",
        append="""
        if os.environ.get("DATABASE_URL"):
            from system.connections import database

            with database.transaction() as connection:
                assert connection.connection.is_valid
        """,
    ),
    expect=(RAISED_BY, "system.app/with no server at its DSN", "got OperationalError"),
)
@falsified_by(
    source(
        "eager-for-convenience",
        "system/app.py",
        '"task_always_eager": eager,',
        '"task_always_eager": eager or __debug__,',
    ),
    expect=("eager mode", "with nothing set", "got true"),
)
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
@falsified_by(
    # The C library connects: of the three observations, only the listening socket sees it.
    source(
        "warm-the-pool-up-on-import",
        "system/app.py",
        append="""
        from system.connections import database

        try:
            database.task_engine().connect().close()
        except Exception:
            pass
        """,
    ),
    expect=("connections that the import made", "", "got 1"),
)
@falsified_by(
    source(
        "count-in-a-thread-from-import-on",
        "system/observability/health.py",
        append="""
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        """,
    ),
    expect=("side effects of the import", "", "got thread: gate.thread"),
)
@falsified_by(
    source(
        "serve-metrics-from-import-on",
        "system/app.py",
        append="""
        from http.server import BaseHTTPRequestHandler, HTTPServer

        metrics = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        """,
    ),
    expect=("side effects of the import", "", "got bind: socket.bind"),
)
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
@falsified_by(
    source(
        "leave-a-name-to-celery",
        "system/tasks/llm.py",
        '@shared_task(name="app.tasks.llm.route")',
        "@shared_task",
    ),
    expect=(MISSING, "", "got app.tasks.llm.route, expected none"),
)
@falsified_by(
    source(
        "forget-to-import-a-module",
        "system/app.py",
        "from system.tasks import attribution, housekeeping, llm, maintenance\n"
        "from system.transport import unconfigured\n\n"
        "TASK_MODULES = (housekeeping, maintenance, llm, attribution)\n",
        "from system.tasks import housekeeping, llm, maintenance\n"
        "from system.transport import unconfigured\n\n"
        "TASK_MODULES = (housekeeping, maintenance, llm)\n",
    ),
    expect=(MISSING, "", "got app.tasks.attribution.recompute_window, expected none"),
)
@falsified_by(
    source(
        "add-a-task-without-a-contract",
        "system/tasks/housekeeping.py",
        append="""
        @shared_task(name="app.tasks.housekeeping.pong")
        def pong() -> str:
            return "pong"
        """,
    ),
    expect=(FURTHER, "", "got app.tasks.housekeeping.pong, expected none"),
)
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
