"""The hooks of a run of gates; they delegate at once and keep their state in ``config.stash``.

`gateproof.plugin` registers them where there is a catalogue. A run whose evidence cannot be written
fails.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Any

import pytest

from gateproof.base.errors import HarnessError, LimitError
from gateproof.base.gates import covers
from gateproof.base.option import named_paths
from gateproof.probes.recorder import Scope
from gateproof.proof.matrix import add_cells
from gateproof.proof.proof import RUNS, STACK_FIXTURES, ProofItem, require_second_runs
from gateproof.proof.self_proof import SelfProofItem
from gateproof.run.binding import loaded_code, plugin_distributions
from gateproof.run.declaration import Declaration, read_declaration
from gateproof.run.distribution import (
    Node,
    is_controller,
    is_worker,
    receive_result,
    received_staging,
    send_result,
    send_staging,
    writer_name,
)
from gateproof.run.option import Options, read_options
from gateproof.run.progress import Progress
from gateproof.run.run import RUN, GateRun
from gateproof.run.stage import record_stage
from gateproof.run.summary import print_summary
from gateproof.run.writer import WRITER, Writer, earlier_of
from gateproof_evidence.errors import EvidenceError, NotWritableError
from gateproof_evidence.format.catalogue import load_catalogues
from gateproof_evidence.format.layout import JUNIT, PYTEST_PAGE
from gateproof_evidence.judging.result import HARNESS


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check all options and files before anything starts."""
    with _usage_errors():
        options = read_options(config)
        if options is not None:
            _open(config, options)
            signal.signal(signal.SIGTERM, _interrupt)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop everything that still runs, however the session ended."""
    writer = config.stash.get(WRITER, None)
    if writer is not None:
        writer.bring_up.dispose()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Node) -> None:
    """Send the staging folder to an xdist worker."""
    run = node.config.stash.get(RUN, None)
    if run is not None:
        send_staging(run, node)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Node) -> None:
    """Receive the result of an xdist worker."""
    run = node.config.stash.get(RUN, None)
    if run is not None:
        receive_result(run, node)


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class,
) -> Generator[None, Any, Any]:
    """Add the proofs of a check after the check."""
    items = yield
    writer = collector.config.stash.get(WRITER, None)
    if writer is None or not isinstance(items, list):
        return items
    return [item for one in items for item in _with_proofs(one, writer)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Store all collected checks before any is deselected; then add the items that prove them."""
    writer = config.stash.get(WRITER, None)
    if writer is not None:
        with _refusals(config, writer, items):
            writer.declared = tuple(dict(_declared(item) for item in items).items())
    yield
    if writer is not None and items and writer.options.falsify.extent != "none":
        if writer.options.falsify.matrix:
            add_cells(items, gate_of=lambda item: _gate(item, writer))
        require_second_runs(items)
        items[:0] = SelfProofItem.make_all(session)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Bind the checks to the catalogue."""
    writer = session.config.stash.get(WRITER, None)
    # pytest calls this even after the hook above has refused the collected items
    if writer is not None and writer.declared is not None and not session.testsfailed:
        with _refusals(session.config, writer, session.items):
            selected = {item.nodeid for item in session.items}
            writer.bind_checks(selected, whole=_is_whole(session.config, writer))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the system before the first check, if any check needs it, and print the progress."""
    writer = session.config.stash.get(WRITER, None)
    needed = any(STACK_FIXTURES & set(getattr(i, "fixturenames", ())) for i in session.items)
    if writer is not None and needed and not session.testsfailed:
        with contextlib.suppress(HarnessError):  # the set-up of each check gets the same error
            writer.bring_up.start()
            writer.bring_up.warm_up()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Record the observations of an item under its criterion."""
    writer = item.config.stash.get(WRITER, None)
    if writer is None:
        return (yield)
    with writer.recorder.in_scope(_scope(item, writer)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Interrupt a check that exceeds its overall time limit."""
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
    """Record how each stage of an item ended."""
    report = yield
    writer = item.config.stash.get(WRITER, None)
    if writer is not None:
        try:
            record_stage(writer.recorder, writer.bring_up, call, item=item.nodeid)
        except NotWritableError as error:
            writer.defects.append(str(error))
            item.session.shouldstop = str(error)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, None]:
    """Seal the bundle after all other plugins have written their files; set the exit status."""
    _close_writer(session.config)
    run = session.config.stash.get(RUN, None)
    try:
        yield
    except Exception as error:
        if run is None:
            raise
        run.defects.append(
            f"another plugin failed at the end of the session: {type(error).__name__}: {error}"
        )
    if run is not None:
        session.exitstatus = _finish(session.config, run, int(exitstatus))


# --- delegates of the hooks ------------------------------------------------------------------


def _open(config: pytest.Config, options: Options) -> None:
    """Open the run, except in an xdist worker, and a writer, except in a controller."""
    run = None if is_worker(config) else GateRun.open(options)
    if run is not None:
        config.stash[RUN] = run
        config.pluginmanager.register(Progress(print_line=lambda line: _print(config, line)))
        _keep_reports(config, run)
    if not is_controller(config):
        config.stash[WRITER] = Writer.open(
            writer_name(config),
            options,
            catalogue=run.catalogue if run else load_catalogues(options.catalogues),
            sut=options.sut,
            staging=run.staging if run else received_staging(config),
            progress=lambda line: _print(config, line),
            earlier=run.earlier if run else earlier_of(options),
        )


def _close_writer(config: pytest.Config) -> None:
    """Close the writer of this process, and pass its result to the run."""
    writer = config.stash.get(WRITER, None)
    if writer is None:
        return
    judges, sut = writer.options.judges, writer.bring_up.sut
    result = writer.close(
        plugins=plugin_distributions(config), code=loaded_code(config, judges, sut)
    )
    if is_worker(config):
        send_result(config, result)
    else:
        config.stash[RUN].results.append(result)


def _finish(config: pytest.Config, run: GateRun, status: int) -> int:
    if run.refusal is not None:
        _print(config, f"ERROR: {run.refusal}", prefix="")
        status = int(pytest.ExitCode.USAGE_ERROR)
    if run.refusal is not None or not (run.bound or run.defects):
        run.discard()
        if run.refusal is None:
            _print(config, "no bundle: the collection did not finish, so nothing was judged")
        return status
    try:
        judged, bundle, sealing_s = run.finish(status)
    except Exception as error:  # noqa: BLE001 (any reason why the evidence cannot be written)
        run.drop_reports()
        _print(config, f"no bundle: {type(error).__name__}: {error}")
        _print(config, f"the records so far are in {run.staging}")
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
    except EvidenceError:  # reported after the collection, as bad input and not as a broken module
        return [item]
    if declaration is None:
        return [item]
    return [
        item,
        *(ProofItem.of_check(item, one) for one in writer.selected_falsifiers(declaration)),
    ]


def _declared(item: pytest.Item) -> tuple[str, Declaration]:
    """Return the node id of the check of an item or proof, and its declaration."""
    declaration = read_declaration(item)
    if declaration is None:
        raise pytest.UsageError(
            f"{item.nodeid}: check: got no criterion, expected @criterion with an id of the "
            "catalogue; move tests that judge no criterion out of the gates folder"
        )
    return (item.check if isinstance(item, ProofItem) else item.nodeid), declaration


def _is_whole(config: pytest.Config, writer: Writer) -> bool:
    """Return whether every folder of the run was collected as a whole."""
    named = named_paths(config)
    inside = all(covers(named, folder) for folder in writer.options.gates)
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
    """End the run early on bad input; in an xdist worker, leave the report to the controller."""
    try:
        with _usage_errors():
            yield
    except pytest.UsageError as error:
        if not is_worker(config):
            raise
        writer.refusal = str(error)
        items.clear()


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """End the run as Ctrl-C does: the observations so far are sealed."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def _limit(limit_s: float) -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise LimitError(f"the check exceeded its overall limit of {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _keep_reports(config: pytest.Config, run: GateRun) -> None:
    """Write the JUnit file of pytest and the page of pytest-html into the bundle."""
    if config.pluginmanager.hasplugin("junitxml") and config.option.xmlpath is None:
        config.option.xmlpath = str(run.staging / JUNIT)
    if config.pluginmanager.hasplugin("html") and config.option.htmlpath is None:
        config.option.htmlpath = str(run.staging / PYTEST_PAGE)
        config.option.self_contained_html = True


def _reporter(config: pytest.Config) -> pytest.TerminalReporter | None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter if isinstance(reporter, pytest.TerminalReporter) else None


def _print(config: pytest.Config, line: str, *, prefix: str = "gateproof: ") -> None:
    reporter = _reporter(config)
    if reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(f"{prefix}{line}")
