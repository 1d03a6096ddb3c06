"""The hooks that judge; they delegate at once, and their state is in ``config.stash``.

Registered by `gateproof.plugin` where there is a catalogue. Evidence that cannot be written fails
the run.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Any

import pytest

from gateproof.base.errors import HarnessError, LimitError
from gateproof.base.sut import load_sut
from gateproof.probes.recorder import Scope
from gateproof.proof.matrix import add_cells
from gateproof.proof.proof import RUNS, STACK_FIXTURES, ProofItem, demand_second_runs
from gateproof.proof.self_proof import SelfProofItem
from gateproof.run.declaration import Declaration, read_declaration
from gateproof.run.distribution import (
    Node,
    hand_account,
    hand_staging,
    is_controller,
    is_worker,
    staging_of,
    take_account,
    writer_name,
)
from gateproof.run.option import Options, read_options
from gateproof.run.progress import Progress
from gateproof.run.run import RUN, GateRun
from gateproof.run.stage import record_phase
from gateproof.run.summary import print_summary
from gateproof.run.writer import WRITER, Writer, earlier_of
from gateproof_evidence.errors import EvidenceError, NotWritableError
from gateproof_evidence.format.catalogue import load_catalogue
from gateproof_evidence.format.layout import JUNIT, PYTEST_PAGE
from gateproof_evidence.judging.rollup import HARNESS


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check everything that was named, before anything starts."""
    with _usage_errors():
        options = read_options(config)
        if options is not None:
            _open(config, options)
            signal.signal(signal.SIGTERM, _interrupt)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End whatever still runs, however the session ended."""
    writer = config.stash.get(WRITER, None)
    if writer is not None:
        writer.bring_up.dispose()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Node) -> None:
    """Tell an xdist worker where to write."""
    run = node.config.stash.get(RUN, None)
    if run is not None:
        hand_staging(run, node)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Node) -> None:
    """Take what an xdist worker leaves."""
    run = node.config.stash.get(RUN, None)
    if run is not None:
        take_account(run, node)


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class,
) -> Generator[None, Any, Any]:
    """Put the proofs beside the check that they prove."""
    made = yield
    writer = collector.config.stash.get(WRITER, None)
    if writer is None or not isinstance(made, list):
        return made
    return [item for one in made for item in _with_proofs(one, writer)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Remember every check that was collected, before any is deselected; then add what proves."""
    writer = config.stash.get(WRITER, None)
    if writer is not None:
        with _refusals(config, writer, items):
            writer.declared = tuple(dict(_declared(item) for item in items).items())
    yield
    if writer is not None and items and writer.options.falsify.extent != "none":
        if writer.options.falsify.matrix:
            add_cells(items, gate_of=lambda item: _gate(item, writer))
        demand_second_runs(items)
        items[:0] = SelfProofItem.beside(session)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Bind the checks to the catalogue."""
    writer = session.config.stash.get(WRITER, None)
    # pytest calls this also after the hook above has refused what was collected
    if writer is not None and writer.declared is not None and not session.testsfailed:
        with _refusals(session.config, writer, session.items):
            selected = {item.nodeid for item in session.items}
            writer.bind_checks(selected, whole=_is_whole(session.config, writer))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Bring the system up before the first check, with progress, when any check needs it."""
    writer = session.config.stash.get(WRITER, None)
    needed = any(STACK_FIXTURES & set(getattr(i, "fixturenames", ())) for i in session.items)
    if writer is not None and needed and not session.testsfailed:
        with contextlib.suppress(HarnessError):  # each check's set-up gets the same error
            writer.bring_up.start()
            writer.bring_up.warm_up()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Record what an item observes under its criterion."""
    writer = item.config.stash.get(WRITER, None)
    if writer is None:
        return (yield)
    with writer.recorder.on_behalf_of(_scope(item, writer)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """End a check that goes past its overall limit."""
    writer = item.config.stash.get(WRITER, None)
    declaration = read_declaration(item) if writer is not None else None
    if declaration is None:
        return (yield)
    runs = RUNS if isinstance(item, ProofItem) else 1
    with _limit(declaration.limit_s * runs):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record how each phase ended."""
    report = yield
    writer = item.config.stash.get(WRITER, None)
    if writer is not None:
        try:
            record_phase(writer.recorder, writer.bring_up, call, item=item.nodeid)
        except NotWritableError as error:
            writer.defects.append(str(error))
            item.session.shouldstop = str(error)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, None]:
    """Seal after every other plugin has written its files; the verdict sets the exit status."""
    _end_writer(session.config)
    run = session.config.stash.get(RUN, None)
    try:
        yield
    except Exception as error:
        if run is None:
            raise
        run.defects.append(f"another plugin broke at the end: {type(error).__name__}: {error}")
    if run is not None:
        session.exitstatus = _finish(session.config, run, int(exitstatus))


# --- what the hooks delegate to --------------------------------------------------------------


def _open(config: pytest.Config, options: Options) -> None:
    """Open the run, unless this is an xdist worker, and a writer, unless others run the items."""
    run = None if is_worker(config) else GateRun.open(options)
    if run is not None:
        config.stash[RUN] = run
        config.pluginmanager.register(Progress(tell=lambda line: _tell(config, line)))
        _keep_reports(config, run)
    if not is_controller(config):
        config.stash[WRITER] = Writer.open(
            writer_name(config),
            options,
            catalogue=run.catalogue if run else load_catalogue(options.catalogue),
            sut=run.sut if run else load_sut(options.sut),
            staging=run.staging if run else staging_of(config),
            progress=lambda line: _tell(config, line),
            earlier=run.earlier if run else earlier_of(options),
        )


def _end_writer(config: pytest.Config) -> None:
    """End this process's writer and leave its account, here or for the controller."""
    writer = config.stash.get(WRITER, None)
    if writer is None:
        return
    account = writer.end()
    if is_worker(config):
        hand_account(config, account)
    else:
        config.stash[RUN].accounts.append(account)


def _finish(config: pytest.Config, run: GateRun, status: int) -> int:
    if run.refusal is not None:
        _tell(config, f"ERROR: {run.refusal}", prefix="")
        status = int(pytest.ExitCode.USAGE_ERROR)
    if run.refusal is not None or not (run.bound or run.defects):
        run.discard()
        if run.refusal is None:
            _tell(config, "no bundle: collection did not come to its end, so nothing was judged")
        return status
    try:
        judged, bundle, sealing_s = run.finish(status)
    except Exception as error:  # noqa: BLE001 (whatever keeps evidence from being written)
        run.drop_reports()
        _tell(config, f"no bundle: {type(error).__name__}: {error}")
        _tell(config, f"what was recorded so far: {run.staging}")
        return HARNESS
    reporter = _reporter(config)
    if reporter is not None:
        print_summary(reporter, judged, bundle, run=run, sealing_s=sealing_s)
    return judged.exit_status


def _with_proofs(item: pytest.Item, writer: Writer) -> list[pytest.Item]:
    if not isinstance(item, pytest.Function):
        return [item]
    try:
        declaration = read_declaration(item)
    except EvidenceError:  # said once collection is over, as bad input and not as a broken module
        return [item]
    if declaration is None:
        return [item]
    return [item, *(ProofItem.beside(item, one) for one in writer.wanted(declaration))]


def _declared(item: pytest.Item) -> tuple[str, Declaration]:
    """Return the node id of the check that an item is or proves, and what it declares."""
    declaration = read_declaration(item)
    if declaration is None:
        raise pytest.UsageError(
            f"{item.nodeid}: check: got no criterion, expected @criterion with an id of the "
            "catalogue; tests of other things live outside the gates folder"
        )
    return (item.check if isinstance(item, ProofItem) else item.nodeid), declaration


def _is_whole(config: pytest.Config, writer: Writer) -> bool:
    """Tell whether the whole gates folder was collected."""
    named = [(config.invocation_params.dir / argument).resolve() for argument in config.args]
    gates = writer.options.gates
    inside = any(path == gates or path in gates.parents for path in named)
    narrowed = ("ignore", "ignore_glob", "lf")
    return inside and not any(config.getoption(name, default=None) for name in narrowed)


def _gate(item: pytest.Item, writer: Writer) -> str:
    declaration = read_declaration(item)
    assert declaration is not None
    return writer.gate_of(declaration.criterion)


def _scope(item: pytest.Item, writer: Writer) -> Scope:
    if isinstance(item, SelfProofItem):
        return Scope(part=f"self-proof:{item.specimen}", item=item.nodeid)
    declaration = read_declaration(item)
    assert declaration is not None
    return Scope(
        part=item.part if isinstance(item, ProofItem) else "check",
        item=item.nodeid,
        criterion=declaration.criterion,
        gate=writer.gate_of(declaration.criterion),
    )


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except EvidenceError as error:
        raise pytest.UsageError(str(error)) from error


@contextlib.contextmanager
def _refusals(config: pytest.Config, writer: Writer, items: list[pytest.Item]) -> Iterator[None]:
    """Turn bad input into an early end; an xdist worker leaves saying so to its controller."""
    try:
        with _usage_errors():
            yield
    except pytest.UsageError as error:
        if not is_worker(config):
            raise
        writer.refusal = str(error)
        items.clear()


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """End as Ctrl-C does: what was seen until then is sealed."""
    raise KeyboardInterrupt


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
    if config.pluginmanager.hasplugin("junitxml") and config.option.xmlpath is None:
        config.option.xmlpath = str(run.staging / JUNIT)
    if config.pluginmanager.hasplugin("html") and config.option.htmlpath is None:
        config.option.htmlpath = str(run.staging / PYTEST_PAGE)
        config.option.self_contained_html = True


def _reporter(config: pytest.Config) -> pytest.TerminalReporter | None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter if isinstance(reporter, pytest.TerminalReporter) else None


def _tell(config: pytest.Config, line: str, *, prefix: str = "gateproof: ") -> None:
    reporter = _reporter(config)
    if reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(f"{prefix}{line}")
