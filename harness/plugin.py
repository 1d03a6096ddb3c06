"""The pytest plugin: hooks that delegate at once; their state is in ``config.stash``.

Inert in a project that has no catalogue. Evidence that cannot be written fails the run.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

from evidence.errors import EvidenceError, NotWritableError
from harness.declarations import read_declaration
from harness.errors import HarnessError, LimitError
from harness.fixtures import (  # noqa: F401 (fixtures are found by name)
    bring_up,
    commands,
    ids,
    own_server_stack,
    own_stack,
    proof_copy,
    recorder,
    stack,
    sut,
)
from harness.options import add_options, read_options
from harness.phases import record_phase
from harness.probes.recorder import Scope
from harness.proof import ProofItem
from harness.run import RUN, GateRun
from harness.summary import print_summary

STACK_FIXTURES = frozenset({"stack", "own_stack", "own_server_stack"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check everything that was named, before anything starts."""
    config.addinivalue_line("markers", "criterion(id): the criterion that this check judges")
    config.addinivalue_line("markers", "falsified_by(falsifier): a fault that must turn it red")
    if config.option.help or config.option.collectonly:
        return
    try:
        options = read_options(config)
        if options is None:
            return
        run = GateRun.open(options, lambda line: _tell(config, line))
    except EvidenceError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[RUN] = run
    _keep_reports(config, run)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End whatever still runs, however the session ended."""
    run = config.stash.get(RUN, None)
    if run is not None:
        run.bring_up.dispose()


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class,
) -> Generator[None, Any, Any]:
    """Put the proofs beside the check that they prove."""
    made = yield
    run = collector.config.stash.get(RUN, None)
    if run is None or not isinstance(made, list) or not run.options.falsify:
        return made
    return [item for one in made for item in _with_proofs(one)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember every check that was collected, before any is deselected."""
    run = config.stash.get(RUN, None)
    if run is not None:
        with _usage_errors():
            run.declared = tuple(pair for item in items for pair in _declared(item))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Bind the checks to the catalogue."""
    run = session.config.stash.get(RUN, None)
    # pytest calls this also after the hook above has refused what was collected
    if run is not None and run.declared is not None and not session.testsfailed:
        with _usage_errors():
            selected = {item.nodeid for item in session.items}
            run.bind_checks(selected, whole=_is_whole(session.config, run))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Bring the system up before the first check, with progress, when any check needs it."""
    run = session.config.stash.get(RUN, None)
    needed = any(STACK_FIXTURES & set(getattr(i, "fixturenames", ())) for i in session.items)
    if run is not None and needed and not session.testsfailed:
        with contextlib.suppress(HarnessError):  # each check's set-up gets the same error
            run.bring_up.start()
            run.bring_up.warm_up()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Record what an item observes under its criterion."""
    run = item.config.stash.get(RUN, None)
    if run is None:
        return (yield)
    with run.recorder.on_behalf_of(_scope(item, run)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """End a check that goes past its overall limit."""
    run = item.config.stash.get(RUN, None)
    declaration = read_declaration(item) if run is not None else None
    if declaration is None:
        return (yield)
    runs = 2 if isinstance(item, ProofItem) else 1
    with _limit(declaration.limit_s * runs):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record how each phase ended."""
    report = yield
    run = item.config.stash.get(RUN, None)
    if run is not None:
        try:
            record_phase(run.recorder, run.bring_up, call, item=item.nodeid)
        except NotWritableError as error:
            run.defects.append(str(error))
            item.session.shouldstop = str(error)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, None]:
    """Seal after every other plugin has written its files; the verdict sets the exit status."""
    yield
    run = session.config.stash.get(RUN, None)
    if run is not None:
        session.exitstatus = _finish(session, run, int(exitstatus))


# --- what the hooks delegate to --------------------------------------------------------------


def _finish(session: pytest.Session, run: GateRun, status: int) -> int:
    run.bring_up.dispose()
    reporter = _reporter(session.config)
    if not run.bound:
        run.discard()
        return status
    try:
        judged, bundle, sealing_s = run.finish(status)
    except (EvidenceError, OSError) as error:
        _tell(session.config, f"no bundle: {error}")
        _tell(session.config, f"what was recorded so far: {run.staging}")
        return 103
    if reporter is not None:
        print_summary(
            reporter, judged, bundle, key=run.key, took_s=run.bring_up.took_s, sealing_s=sealing_s
        )
    return judged.exit_status


def _with_proofs(item: pytest.Item) -> list[pytest.Item]:
    if not isinstance(item, pytest.Function):
        return [item]
    try:
        declaration = read_declaration(item)
    except EvidenceError:  # said once collection is over, as bad input and not as a broken module
        return [item]
    if declaration is None:
        return [item]
    return [item, *(ProofItem.beside(item, one) for one in declaration.falsifiers)]


def _declared(item: pytest.Item) -> Iterator[tuple[str, Any]]:
    declaration = read_declaration(item)
    if declaration is None:
        raise pytest.UsageError(
            f"{item.nodeid}: check: got no criterion, expected @criterion with an id of the "
            "catalogue; tests of other things live outside the gates folder"
        )
    if not isinstance(item, ProofItem):
        yield item.nodeid, declaration


def _is_whole(config: pytest.Config, run: GateRun) -> bool:
    """Tell whether the whole gates folder was collected."""
    named = [(config.invocation_params.dir / argument).resolve() for argument in config.args]
    inside = any(path == run.options.gates or path in run.options.gates.parents for path in named)
    return inside and not config.getoption("ignore") and not config.getoption("lf", default=False)


def _scope(item: pytest.Item, run: GateRun) -> Scope:
    declaration = read_declaration(item)
    assert declaration is not None
    part = f"proof:{item.falsifier.fault.name}" if isinstance(item, ProofItem) else "check"
    return Scope(
        part=part,
        item=item.nodeid,
        criterion=declaration.criterion,
        gate=run.gate_of(declaration.criterion),
    )


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except EvidenceError as error:
        raise pytest.UsageError(str(error)) from error


@contextlib.contextmanager
def _limit(limit_s: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise LimitError(f"the check's overall limit of {limit_s:g} s passed")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _keep_reports(config: pytest.Config, run: GateRun) -> None:
    """Have pytest's JUnit and pytest-html's page written into the bundle."""
    tests = run.staging / "data" / "tests"
    if config.option.xmlpath is None:
        config.option.xmlpath = str(tests / "junit.xml")
    if config.pluginmanager.hasplugin("html") and config.option.htmlpath is None:
        config.option.htmlpath = str(tests / "pytest.html")
        config.option.self_contained_html = True


def _reporter(config: pytest.Config) -> TerminalReporter | None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter if isinstance(reporter, TerminalReporter) else None


def _tell(config: pytest.Config, line: str) -> None:
    reporter = _reporter(config)
    if reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(f"gateproof: {line}")
