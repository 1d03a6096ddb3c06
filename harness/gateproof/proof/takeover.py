"""Takes checks and proofs over from an earlier bundle, and records what those that run depend on.

Owns the decision for one item: it counts again if nothing that it depends on has changed. Leaves
reading the earlier bundle to `gateproof_evidence.verification.earlier`, and which code of the
system an item uses to `gateproof.stack.watched`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Literal

import pytest

from gateproof.proof.proof import STACK_FIXTURES, ProofItem
from gateproof.run.declaration import read_declaration
from gateproof.run.writer import WRITER, Writer, loaded_now
from gateproof.stack.watched import Used
from gateproof_evidence.model import CheckTakenOverEvent, ProofEvent, TakenOverEvent
from gateproof_evidence.verification.earlier import Dependence, Frame

SHARED_FIXTURE = "stack"
OWN = ("gateproof.", "_pytest.")
"""The modules of fixtures that several items share and that are known here."""
TAKEN: pytest.StashKey[bool] = pytest.StashKey()
"""Whether an item was taken over."""


class TakeOver:
    """The hook that takes an item over instead of running it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Do not run an item whose earlier result counts; end what the next one does not need."""
        item.stash[TAKEN] = take_over(item)
        if not item.stash[TAKEN]:
            return None
        earlier = item.config.stash[WRITER].earlier
        assert earlier is not None
        reason = f"taken over from the bundle sealed at {earlier.sealed:%Y-%m-%d %H:%M} UTC"
        _report(item, reason, nextitem)
        return True


def criterion_of(item: pytest.Item) -> str | None:
    """Return the criterion of a check or proof; None for any other item, as for a cell."""
    if isinstance(item, ProofItem) and item.owner is not None:
        return None
    declaration = read_declaration(item) if isinstance(item, pytest.Function) else None
    return declaration.criterion if declaration is not None else None


def falsifier_of(item: pytest.Item) -> str:
    """Return the name of the falsifier of a proof; empty for a check."""
    return item.falsifier.fault.name if isinstance(item, ProofItem) else ""


def take_over(item: pytest.Item) -> bool:
    """Record the result of an earlier bundle for an item, if it counts; return whether it does."""
    writer, criterion = item.config.stash[WRITER], criterion_of(item)
    earlier = writer.earlier
    if earlier is None or criterion is None:
        return False
    if isinstance(item, ProofItem):
        proof = _earlier_proof(item, writer, criterion)
        if proof is None or not _finds_baseline(item, proof, writer, criterion):
            return False
        writer.recorder.journal.append(
            TakenOverEvent,
            item=item.nodeid,
            criterion=criterion,
            falsifier=falsifier_of(item),
            attestation=earlier.digest,
            story=proof,
        )
    elif not _take_check_over(item, writer, criterion):
        return False
    before = earlier.dependences[criterion, falsifier_of(item)]
    _record(item, writer, criterion, _as_used(before), before.frame)
    return True


def record_dependence(item: pytest.Item) -> None:
    """Record what a check or proof that has just run depends on."""
    writer, criterion = item.config.stash[WRITER], criterion_of(item)
    if criterion is None or item.stash.get(TAKEN, False):
        return
    fixtures = _fixtures(item)
    bring_up, shared = writer.bring_up, []
    if fixtures & STACK_FIXTURES:
        shared.append(bring_up.migrating.notes)
    if SHARED_FIXTURE in fixtures and not isinstance(item, ProofItem):
        shared.append(bring_up.context.notes)
    used = bring_up.watches.used(shared)
    if _shares_a_fixture(item):
        used |= Used(unknown=frozenset({"it shares a fixture with other items"}))
    _record(item, writer, criterion, used, _frame(item, writer, criterion))


def _fixtures(item: pytest.Item) -> frozenset[str]:
    return frozenset(item.fixturenames) if isinstance(item, pytest.Function) else frozenset()


def _shares_a_fixture(item: pytest.Item) -> bool:
    """Return whether an item needs a fixture of gates that was set up for another item.

    The code of the system that such a fixture used is recorded for the item that set it up alone.
    """
    if not isinstance(item, pytest.Function):
        return False
    found = item._fixtureinfo.name2fixturedefs.values()  # noqa: SLF001 (no public name has scopes)
    return any(
        one.scope != "function" and not one.func.__module__.startswith(OWN)
        for definitions in found
        for one in definitions
    )


def _take_check_over(item: pytest.Item, writer: Writer, criterion: str) -> bool:
    earlier = writer.earlier
    assert earlier is not None
    if not writer.options.changed:
        return False
    found = earlier.find_check(
        criterion,
        _frame(item, writer, criterion),
        now=loaded_now(item.config),
        changed=lambda uses: _has_changed(writer, uses),
    )
    if found is None or found.ran is None or _is_too_old(writer, found.ran):
        return False
    writer.recorder.journal.append(
        CheckTakenOverEvent,
        item=item.nodeid,
        criterion=criterion,
        attestation=earlier.digest,
        ran=found.ran,
        claims=found.claims,
    )
    return True


def _earlier_proof(item: ProofItem, writer: Writer, criterion: str) -> ProofEvent | None:
    """Return the proof of the earlier bundle that counts for an item, or None."""
    assert writer.earlier is not None
    found = writer.earlier.find(
        criterion,
        falsifier_of(item),
        _frame(item, writer, criterion),
        now=loaded_now(item.config),
        changed=lambda uses: _has_changed(writer, uses),
    )
    return None if found is None or _is_too_old(writer, found.at) else found


def _finds_baseline(item: ProofItem, proof: ProofEvent, writer: Writer, criterion: str) -> bool:
    """Return whether the proof whose baseline counts for an earlier one is reused as well."""
    if not proof.baseline_of:
        return True
    return any(
        _earlier_proof(one, writer, criterion) is not None
        for one in item.session.items
        if isinstance(one, ProofItem) and one.check == item.check and one.owner is None
        if falsifier_of(one) == proof.baseline_of
    )


def _frame(item: pytest.Item, writer: Writer, criterion: str) -> Frame:
    if isinstance(item, ProofItem):
        return writer.dependencies.frame(item.path, criterion, item.falsifier)
    return writer.dependencies.frame(item.path, criterion)


def _has_changed(writer: Writer, uses: Mapping[str, str]) -> bool:
    sources = writer.dependencies.sources
    return any(sources.digest(unit) != before for unit, before in uses.items())


def _is_too_old(writer: Writer, ran: dt.datetime) -> bool:
    limit = writer.options.proofs_max_age
    return limit is not None and dt.datetime.now(dt.UTC) - ran > limit


def _as_used(before: Dependence) -> Used:
    return Used(units=frozenset(before.uses), unknown=frozenset(before.unknown))


def _record(item: pytest.Item, writer: Writer, criterion: str, used: Used, frame: Frame) -> None:
    writer.dependence_log.record(
        used,
        item=item.nodeid,
        criterion=criterion,
        falsifier=falsifier_of(item),
        frame=frame,
    )


def _report(item: pytest.Item, reason: str, nextitem: pytest.Item | None) -> None:
    """Report an item to pytest as skipped, with the reason.

    The item before it was torn down as far as this one did not need: fixtures of a module that is
    left behind are ended here.
    """
    path, line, _ = item.location
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    hook.pytest_runtest_logreport(report=_as_report(item, "setup", (path, line or 0, reason)))
    state = item.session._setupstate  # noqa: SLF001 (pytest has no public name for this)
    ending = pytest.CallInfo.from_call(lambda: state.teardown_exact(nextitem), when="teardown")
    report = _as_report(item, "teardown", None)
    if ending.excinfo is not None:
        report = hook.pytest_runtest_makereport(item=item, call=ending)
    hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _as_report(
    item: pytest.Item, when: Literal["setup", "teardown"], skipped: tuple[str, int, str] | None
) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="skipped" if skipped else "passed",
        longrepr=skipped,
        when=when,
    )
