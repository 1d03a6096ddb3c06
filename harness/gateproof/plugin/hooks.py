"""The hooks of a run of gates; they delegate at once and keep their state in ``config.stash``.

`gateproof.plugin` registers them where there is a catalogue. A run whose evidence cannot be written
fails.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gateproof.base.errors import HarnessError, InconclusiveError, LimitError
from gateproof.base.exit_guard import ExitGuard
from gateproof.base.option import named_paths
from gateproof.base.stop import STOP, Stop
from gateproof.description.gates import catalogue_of, covers
from gateproof.probes.claims.claim import FindingsError, claims_of_check
from gateproof.probes.claims.statement import describe
from gateproof.probes.recorder import Scope
from gateproof.proof.durations import (
    durations_of,
    group_table,
    pace_line,
    step_table,
    write_durations,
)
from gateproof.proof.matrix import add_cells
from gateproof.proof.mutation.judging.item import MutantItem
from gateproof.proof.mutation.judging.session import Mutation
from gateproof.proof.proof import STACK_FIXTURES, ProofItem, require_second_runs
from gateproof.proof.self_proof import SelfProofItem
from gateproof.proof.shard import keep_shard
from gateproof.proof.takeover import TakeOver, record_dependence
from gateproof.run.binding import loaded_code, plugin_distributions
from gateproof.run.declaration import DESCRIBED, OWN, Declaration, read_declaration
from gateproof.run.dependence.since import changed_files, concerns
from gateproof.run.distribution import (
    PROBLEM,
    Node,
    is_controller,
    is_worker,
    receive_result,
    received_earlier,
    received_staging,
    send_problem,
    send_result,
    send_staging,
    writer_name,
)
from gateproof.run.option import Options, read_options
from gateproof.run.progress import Progress
from gateproof.run.run import RUN, GateRun, Problem
from gateproof.run.stage import record_stage
from gateproof.run.summary import print_summary, print_table, without_lines
from gateproof.run.writer import WRITER, Writer, earlier_of, now
from gateproof.stack.stopwatch import CHECK, SET_UP, TEAR_DOWN, ItemLabels
from gateproof_evidence.errors import BadInputError, EvidenceError, NotWritableError
from gateproof_evidence.format.layout import JUNIT, PYTEST_PAGE
from gateproof_evidence.judging.claim import findings_text
from gateproof_evidence.judging.result import HARNESS, VIOLATION

DEADLINE: pytest.StashKey[tuple[float, float]] = pytest.StashKey()
"""The moment at which an item must have ended for pytest-timeout, and its limit in seconds."""

GUARD: pytest.StashKey[ExitGuard] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check all options and files before anything starts."""
    config.stash[STOP] = Stop()
    config.pluginmanager.register(config.stash[STOP])
    try:
        options = read_options(config)
        if options is not None:
            _open(config, options)
            signal.signal(signal.SIGTERM, _interrupt)
    except (EvidenceError, HarnessError) as error:
        _refuse_start(config, Problem.of(error))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop everything that still runs, however the session ended."""
    writer, run = config.stash.get(WRITER, None), config.stash.get(RUN, None)
    if writer is not None:
        writer.bring_up.dispose()
    if GUARD in config.stash:
        config.stash[GUARD].dispose()
    if run is not None and not run.ended:
        run.discard()  # pytest ended before its session began, so no check ran
        why = config.stash[STOP].error or config.stash[STOP].reason or "see above"
        _print(config, f"no bundle: pytest ended before it collected a check: {why}")


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
    if PROBLEM in config.stash:
        items.clear()  # this xdist worker cannot run them: the controller gets the reason
    writer = config.stash.get(WRITER, None)
    if writer is not None:
        with _refusals(config, writer, items):
            writer.declared = tuple(dict(_declared(item) for item in items).items())
    yield
    if writer is not None and writer.options.changed_since is not None:
        with _refusals(config, writer, items):
            _keep_changed(config, items, writer.options)
    if writer is not None and writer.options.shard is not None:
        with _refusals(config, writer, items):
            writer.shards = keep_shard(config, items, writer.options)
    if writer is not None and items and writer.options.falsify.extent != "none":
        if writer.options.falsify.matrix:
            add_cells(
                items,
                gate_of=lambda item: _gate(item, writer),
                can_judge=lambda item: _unmet(item) is None,
            )
        require_second_runs(items)
        items[:0] = SelfProofItem.make_all(session)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Bind the checks to the catalogue."""
    writer = session.config.stash.get(WRITER, None)
    # pytest calls this even after the hook above has refused the collected items
    if writer is not None and writer.declared is not None and not session.testsfailed:
        with _refusals(session.config, writer, session.items), _losses(session):
            selected = {item.nodeid for item in session.items}
            writer.bind_checks(selected, whole=_is_whole(session.config, writer))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Start the system before the first check, if any check needs it, and print the progress.

    A description that names what does not exist is refused then: no check runs.
    """
    writer = session.config.stash.get(WRITER, None)
    if writer is not None and _needs_stack(session) and not session.testsfailed:
        # The set-up of each check gets the same error.
        with contextlib.suppress(HarnessError), _losses(session):
            try:
                writer.bring_up.start()
                if _needs_worker(session, writer):
                    writer.bring_up.warm_up()
            except BadInputError as error:
                writer.refusal = str(error)
                # The controller of xdist waits for every item; in its workers each ends at once.
                return None if is_worker(session.config) else True
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Record the observations of an item under its criterion."""
    writer = item.config.stash.get(WRITER, None)
    if writer is None or isinstance(item, MutantItem):
        return (yield)
    scope = _scope(item, writer)
    writer.bring_up.watches.begin_item()
    with writer.bring_up.stopwatch.item(_labels(item, scope)), writer.recorder.in_scope(scope):
        result = yield
        # Where a limit of the machine is met, an item without a record runs again next time.
        with _losses(item.session), contextlib.suppress(OSError):
            record_dependence(item)
        return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Interrupt a set-up that exceeds a limit of pytest-timeout."""
    with _step(item, SET_UP), _limit(*_limit_of(item, "setup")):
        _refuse_unmet(item)
        return (yield)


# The innermost wrapper: pytest-timeout sets some of its limits in its own.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Interrupt a check that exceeds its overall time limit."""
    with _step(item, CHECK), _limit(*_limit_of(item, "call")):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Fail a check at its end if a claim that it stated does not hold."""
    writer = pyfuncitem.config.stash.get(WRITER, None)
    if writer is None:
        return (yield)
    with claims_of_check(), _wrong_names(writer):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Interrupt a clean-up that exceeds a limit of pytest-timeout."""
    with _step(item, TEAR_DOWN), _limit(*_limit_of(item, "teardown")):
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Take over a limit of pytest-timeout, whose own ways to end a check give false verdicts.

    Its method `thread` ends the process with 1; its method `signal` fails the check, though a time
    limit shows nothing about the claim.
    """
    item.stash[DEADLINE] = (time.monotonic() + settings.timeout, settings.timeout)
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    """End a limit of pytest-timeout."""
    if DEADLINE in item.stash:
        del item.stash[DEADLINE]
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record how each stage of an item ended."""
    report = yield
    writer = item.config.stash.get(WRITER, None)
    if call.excinfo is not None and isinstance(call.excinfo.value, FindingsError):
        report.longrepr = _findings(item, call.excinfo.value)
    if writer is not None:
        with _losses(item.session):
            record_stage(writer.recorder, writer.bring_up, call, item=item.nodeid)
        if writer.recorder.lost:
            item.session.shouldstop = writer.recorder.lost
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, Any, Any]:
    """Leave out the lines of other plugins that name a file by its path before sealing."""
    run = config.stash.get(RUN, None)
    if run is None:
        return (yield)
    with without_lines(terminalreporter, str(run.staging)):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, None]:
    """Seal the bundle after all other plugins have written their files; set the exit status."""
    run = session.config.stash.get(RUN, None)
    with _defects(run, "this process failed to close its journal"):
        _close_writer(session)
    with _defects(run, "another plugin failed at the end of the session"):
        yield
    if run is not None:
        session.exitstatus = _end(session, run, int(exitstatus))


# --- delegates of the hooks ------------------------------------------------------------------


def _open(config: pytest.Config, options: Options) -> None:
    """Open the run, except in an xdist worker, and a writer, except in a controller."""
    config.stash[DESCRIBED] = options.sut
    config.stash[OWN] = options.own
    run = None if is_worker(config) else GateRun.open(options)
    if run is not None:
        for one in options.sut.expired_absences:
            why = "it counts as not declared; renew it or describe the feature"
            _print(config, f"WARNING: absent: {one.feature}: expired on {one.expires}: {why}")
        for left in options.sut.expired_left_out:
            why = "it is judged; renew the decision or remove it"
            _print(config, f"WARNING: left_out: {left.criterion}: expired on {left.expires}: {why}")
        for other in options.sut.expired_replaced:
            why = "the check of its pack judges it again; renew the decision or remove it"
            what = f"replaced: {other.criterion}: expired on {other.expires}"
            _print(config, f"WARNING: {what}: {why}")
        config.stash[RUN] = run
        config.stash[GUARD] = ExitGuard(status=HARNESS, explain=run.explain)
        config.pluginmanager.register(Progress(print_line=lambda line: _print(config, line)))
        _keep_reports(config, run)
    if not is_controller(config):
        config.stash[WRITER] = Writer.open(
            writer_name(config),
            options,
            catalogue=run.catalogue if run else catalogue_of(options.sut, options.gates),
            sut=options.sut,
            staging=run.staging if run else received_staging(config),
            progress=lambda line: _print(config, line),
            earlier=run.earlier if run else earlier_of(options, verified=received_earlier(config)),
        )
        if options.mutation is None:
            config.pluginmanager.register(TakeOver(), "gateproof-takeover")
        else:
            mutation = Mutation(config.stash[WRITER], options.mutation)
            config.pluginmanager.register(mutation, "gateproof-mutation")


def _close_writer(session: pytest.Session) -> None:
    """Close the writer of this process, and pass its result to the run."""
    config = session.config
    writer = config.stash.get(WRITER, None)
    if PROBLEM in config.stash:
        send_problem(config, config.stash[PROBLEM])
    run = config.stash.get(RUN, None)
    options = run.options if run is not None else writer.options if writer is not None else None
    code = loaded_code(config, options.judges, options.sut) if options is not None else set()
    if run is not None:
        run.code = code
    if writer is None:
        return
    writer.stop = config.stash[STOP]
    result = writer.close(plugins=plugin_distributions(config), code=code)
    if is_worker(config):
        send_result(config, result)
    else:
        config.stash[RUN].results.append(result)


@contextlib.contextmanager
def _defects(run: GateRun | None, what: str) -> Iterator[None]:
    """Turn an error into a defect of the run, which is sealed all the same."""
    try:
        yield
    except Exception as error:
        if run is None:
            raise
        run.defects.append(f"{what}: {type(error).__name__}: {error}")


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Search for no unused cycles of objects: sealing makes many objects and hardly any cycle."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _end(session: pytest.Session, run: GateRun, status: int) -> int:
    """End the run and return its exit status: whatever fails here, evidence is missing."""
    run.ended = True
    try:
        _explain_end(session, run)
        return _finish(session.config, run, status)
    except Exception as error:  # noqa: BLE001 (any reason why the evidence cannot be written)
        _explain_loss(session.config, run, error)
        return HARNESS


def _explain_end(session: pytest.Session, run: GateRun) -> None:
    """Record in the run why pytest ended, where its exit status alone does not show it."""
    stop = session.config.stash[STOP]
    run.report_silent_writers()
    if not stop.interrupted:
        reasons = [*(result.stopped for result in run.results), stop.reason, session.shouldfail]
        run.stopped = next((str(reason) for reason in reasons if reason), "")
    if stop.error:
        run.defects.append(f"internal error of pytest: {stop.error}")


def _finish(config: pytest.Config, run: GateRun, status: int) -> int:
    problem = run.problem
    if problem is not None:
        run.discard()
        _print(config, f"ERROR: {problem.message}", prefix="")
        return problem.status
    if run.options.mutation is not None:
        run.discard()
        return status
    if not (run.bound or run.defects or run.lost):
        run.discard()
        _print(config, "no bundle: the collection did not finish, so nothing was judged")
        # With -x pytest ends a collection as it ends failed checks. No check has failed here.
        return int(pytest.ExitCode.INTERRUPTED) if status == VIOLATION else status
    durations = durations_of(run.results, wall_s=(now() - run.started).total_seconds())
    with _without_collection():
        judged, bundle, sealing_s = run.finish(status)
    reporter = _reporter(config)
    if reporter is not None:
        with contextlib.suppress(OSError):  # the output may be on a full disk; the bundle is whole
            print_summary(reporter, judged, bundle, run=run, sealing_s=sealing_s)
            if durations["proofs"]:
                _print(config, pace_line(durations), prefix="")
    if run.options.durations_json is not None:
        _report_durations(config, run.options.durations_json, durations)
    return judged.exit_status


def _report_durations(config: pytest.Config, path: Path, durations: Mapping[str, Any]) -> None:
    """Write the file of durations and print its sums; the verdict does not depend on it."""
    try:
        write_durations(path, durations)
    except OSError as error:
        _print(config, f"{path}: --durations-json: cannot be written ({error.strerror})")
        return
    reporter = _reporter(config)
    if reporter is not None:
        with contextlib.suppress(OSError):
            print_table(reporter, step_table(durations))
            print_table(reporter, group_table(durations))
            reporter.write_line(f"durations: {path}")


def _explain_loss(config: pytest.Config, run: GateRun, error: Exception) -> None:
    """Print why there is no whole bundle, and where the records are."""
    name = "" if isinstance(error, NotWritableError) else f"{type(error).__name__}: "
    if run.bundle is not None:
        _print(config, f"sealed in {run.bundle}, but not its archive and links: {name}{error}")
        return
    _print(config, f"no bundle: {name}{error}")
    _print(config, f"the records so far are in {run.staging}")
    try:
        run.drop_reports()
    except OSError as left:
        _print(config, f"{left.filename}: got {left.strerror}; it is not redacted: delete it")
    run.explain(f"it could not be sealed: {name}{error}")


def _refuse_start(config: pytest.Config, problem: Problem) -> None:
    """End pytest before its session; an xdist worker continues without checks, and reports it."""
    run = config.stash.get(RUN, None)
    if run is not None:  # pytest has not registered the hook yet that would discard it
        run.discard()
        config.stash[GUARD].dispose()
    if is_worker(config):
        config.stash[PROBLEM] = problem
    elif problem.status == pytest.ExitCode.USAGE_ERROR:
        raise pytest.UsageError(problem.message)
    else:
        pytest.exit(problem.message, returncode=problem.status)


def _findings(item: pytest.Item, error: FindingsError) -> str:
    """Return the findings of a check, and the exception that followed them, without our frames."""
    lines = [findings_text(error.findings), *map(describe, error.findings[1:])]
    if error.__cause__ is not None:
        cause = pytest.ExceptionInfo.from_exception(error.__cause__)
        lines += ["", "after them:", str(item.repr_failure(cause))]
    return "\n".join(lines)


@contextlib.contextmanager
def _losses(session: pytest.Session) -> Iterator[None]:
    """Stop the session where evidence cannot be written; the writer reports it at its end."""
    try:
        yield
    except NotWritableError as error:
        session.shouldstop = str(error)


def _with_proofs(item: pytest.Item, writer: Writer) -> list[pytest.Item]:
    if not isinstance(item, pytest.Function):
        return [item]
    try:
        declaration = read_declaration(item)
    except EvidenceError:  # reported after the collection, as bad input and not as a broken module
        return [item]
    if declaration is None:
        return [item]
    if writer.is_replaced(declaration, item.path):
        return []
    return [
        item,
        *(ProofItem.of_check(item, one) for one in writer.selected_falsifiers(declaration)),
    ]


def _keep_changed(config: pytest.Config, items: list[pytest.Item], options: Options) -> None:
    """Deselect the items that no change since a commit concerns."""
    assert options.changed_since is not None
    files = changed_files(options.sut.folder, options.changed_since)
    concerned = concerns(files, options.sut, options.gates)
    others = [item for item in items if not concerned(item.path)]
    items[:] = [item for item in items if concerned(item.path)]
    if others:
        config.hook.pytest_deselected(items=others)


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


def _unmet(item: pytest.Item) -> BaseException | None:
    """Return why the check of an item cannot judge this system; None if it can."""
    writer = item.config.stash.get(WRITER, None)
    if writer is None or isinstance(item, SelfProofItem):
        return None
    declaration = read_declaration(item)
    return writer.unmet(declaration) if declaration is not None else None


def _refuse_unmet(item: pytest.Item) -> None:
    """End an item before its fixtures are set up, if the system lacks what its check needs."""
    problem = _unmet(item) or _without_worker(item)
    if problem is not None:
        raise problem


def _without_worker(item: pytest.Item) -> BaseException | None:
    """Return why a check that builds on another cannot judge, because no worker answered at first.

    The criterion that judges this runs: see `gateproof_evidence.judging.verdict`.
    """
    writer = item.config.stash.get(WRITER, None)
    if writer is None or not _builds_on_worker(item, writer):
        return None
    problem = writer.bring_up.lacks_worker()
    return InconclusiveError(f"no worker was ready: {problem}") if problem else None


def _builds_on_worker(item: pytest.Item, writer: Writer) -> bool:
    """Return whether an item needs a worker that answers, which another criterion judges."""
    declaration = read_declaration(item) if isinstance(item, pytest.Function) else None
    if declaration is None:
        return False
    needs = {need.key.partition(".")[0] for need in declaration.needs}
    built_on = writer.built_on
    own = writer.catalogue.by_id(declaration.criterion).basis_of
    return not own and bool(needs & built_on)


@contextlib.contextmanager
def _wrong_names(writer: Writer) -> Iterator[None]:
    """Replace an error that a wrong name of the description caused by one that names its key."""
    try:
        yield
    except Exception as error:
        found = writer.bring_up.explained(error)
        if found is None:
            raise
        raise found from error


def _needs_stack(session: pytest.Session) -> bool:
    """Return whether any item that can judge works on a stack."""
    return any(
        STACK_FIXTURES & set(getattr(item, "fixturenames", ())) and _unmet(item) is None
        for item in session.items
    )


def _needs_worker(session: pytest.Session, writer: Writer) -> bool:
    """Return whether any item that can judge uses the shared stack, or builds on its worker.

    Others, such as checks on a database of their own, would wait for a start that they do not use.
    """
    return any(
        ("stack" in getattr(item, "fixturenames", ()) or _builds_on_worker(item, writer))
        and _unmet(item) is None
        for item in session.items
    )


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


def _labels(item: pytest.Item, scope: Scope) -> ItemLabels:
    """Return the names by which the time of an item is summed up."""
    fault = item.falsifier.fault if isinstance(item, ProofItem) else None
    return ItemLabels(
        item=item.nodeid,
        gate=scope.gate or "",
        criterion=scope.criterion or "",
        falsifier=fault.name if fault else "",
        fault_kind=fault.kind if fault else "",
    )


def _step(item: pytest.Item, name: str) -> contextlib.AbstractContextManager[None]:
    """Return what measures a stage of an item; nothing where no gates run."""
    writer = item.config.stash.get(WRITER, None)
    return contextlib.nullcontext() if writer is None else writer.bring_up.stopwatch.step(name)


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


def _limit_of(item: pytest.Item, stage: str) -> tuple[float, str]:
    """Return the time that a stage has left, 0 if there is no limit, and the limit in words."""
    found: list[tuple[float, str]] = []
    declaration = read_declaration(item) if WRITER in item.config.stash else None
    if declaration is not None and stage == "call":
        limit_s = declaration.limit_s
        if isinstance(item, ProofItem):
            limit_s = item.limit_s(limit_s)
        found.append((limit_s, f"its overall limit of {limit_s:g} s"))
    if DEADLINE in item.stash:
        until, limit_s = item.stash[DEADLINE]
        left_s = until - time.monotonic()
        # A clean-up after the limit gets the time once more: otherwise it would not be made at all.
        left_s = limit_s if stage == "teardown" and left_s <= 0 else max(left_s, 0.001)
        found.append((left_s, f"the limit of {limit_s:g} s that pytest-timeout sets"))
    return min(found, default=(0.0, ""))


@contextlib.contextmanager
def _limit(limit_s: float, words: str) -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise LimitError(f"the check exceeded {words}")

    if not limit_s:
        yield
        return
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
    """Print a line, if anything can be printed: the output may be on the disk that is full."""
    reporter = _reporter(config)
    with contextlib.suppress(OSError):
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"{prefix}{line}")
        elif not is_worker(config):
            sys.stderr.write(f"{prefix}{line}\n")
