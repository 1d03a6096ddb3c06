"""A session of pytest that judges mutants instead of the system; nothing is sealed.

Owns the two parts of a mutation run: planning, in one process, and judging, in several. Leaves the
order of these calls to `gateproof.proof.mutation.command`.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from gateproof.base.errors import HarnessError
from gateproof.proof.mutation.choosing.unit import units_of_faults
from gateproof.proof.mutation.choosing.words import words_of
from gateproof.proof.mutation.judging.item import Judge, MutantItem
from gateproof.proof.mutation.judging.order import Order
from gateproof.proof.mutation.mutant import Candidate, Mutant
from gateproof.proof.mutation.schema.generation import schema_mutants
from gateproof.proof.mutation.store import Plan, Store, Todo, write
from gateproof.proof.proof import EMPTY_FIXTURE, STACK_FIXTURES, ProofItem
from gateproof.run.binding import bound_files
from gateproof.run.declaration import read_declaration
from gateproof.run.writer import Writer
from gateproof_evidence.judging.result import ENVIRONMENT


class Mutation:
    """The plugin of one process."""

    def __init__(self, writer: Writer, folder: Path) -> None:
        self._writer = writer
        self._store = Store(folder=folder)
        self._checks: dict[str, pytest.Function] = {}
        self._judge: Judge | None = None
        self._until = 0.0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> None:
        """Keep the checks, and put an item for each mutant in their place."""
        self._checks = {
            item.nodeid: item
            for item in items
            if isinstance(item, pytest.Function) and not isinstance(item, ProofItem)
        }
        todo = self._store.todo()
        if todo is None:
            return
        plan = self._store.plan()
        assert plan is not None, "premise: the plan was made before"
        self._judge = self._new_judge(plan, todo)
        self._until = todo.until
        items[:] = [MutantItem.of(session, task) for task in todo.tasks]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Plan, if nothing is planned yet; otherwise the items run."""
        if self._judge is not None or session.testsfailed:
            return None
        try:
            write(self._store.plan_path, self._plan())
        except HarnessError as error:
            pytest.exit(f"the system did not start: {error}", returncode=ENVIRONMENT)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Judge a mutant, and report its item as passed."""
        if not isinstance(item, MutantItem) or self._judge is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if not self._until or time.time() < self._until:
            self._store.add(self._writer.name, self._judge.judge(item.task))
        for when in ("setup", "call", "teardown"):
            item.ihook.pytest_runtest_logreport(report=_passed(item, when))
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _plan(self) -> Plan:
        writer = self._writer
        checks = tuple(
            found
            for nodeid, item in self._checks.items()
            if (found := _candidate(nodeid, item, writer)) is not None
        )
        mutants: list[Mutant] = []
        refused: Mapping[str, int] = {}
        if any(one.stack for one in checks):
            stack = writer.bring_up.shared()
            dsn = stack.server.superuser.dsn(stack.server.outside, stack.database)
            mutants, refused = schema_mutants(dsn)
        return Plan(
            subject=subject_of(writer),
            environment=writer.kind,
            checks=checks,
            mutants=tuple(mutants),
            refused=dict(refused),
        )

    def _new_judge(self, plan: Plan, todo: Todo) -> Judge:
        candidates: Mapping[str, Candidate] = {one.item: one for one in plan.checks}
        order = Order(
            store=self._store,
            candidates=candidates,
            durations_s=dict(todo.durations_s),
            groups={one.mutant.id: one.mutant.group for one in todo.tasks},
        )
        return Judge(
            writer=self._writer,
            store=self._store,
            checks=self._checks,
            candidates=candidates,
            order=order,
            budget_s=todo.budget_s,
        )


def subject_of(writer: Writer) -> str:
    """Return a digest of the files that the results depend on, and of the environment."""
    options = writer.options
    bound = bound_files(options.sut, options.judges).values()
    parts = [f"{one.title} {one.digest}" for one in bound]
    return hashlib.sha256("\n".join([*sorted(parts), writer.kind]).encode()).hexdigest()


def _candidate(nodeid: str, item: pytest.Function, writer: Writer) -> Candidate | None:
    """Return a check that may kill mutants; None if it cannot judge this system."""
    declaration = read_declaration(item)
    if declaration is None or writer.unmet(declaration):
        return None
    used = STACK_FIXTURES & set(item.fixturenames)
    criterion = writer.catalogue.by_id(declaration.criterion)
    faults = [one.fault for one in declaration.falsifiers]
    return Candidate(
        criterion=declaration.criterion,
        item=nodeid,
        stack=bool(used) and EMPTY_FIXTURE not in used,
        units=tuple(sorted(units_of_faults(faults, writer.options.sut.folder))),
        words=words_of(
            criterion.statement,
            inspect.getsource(item.function),
            *(f"{one.name} {one.describe()}" for one in faults),
        ),
        faults=tuple(sorted({one.kind for one in faults})),
        basis=bool(criterion.basis_of),
    )


def _passed(
    item: pytest.Item, when: Literal["setup", "call", "teardown"] | Any
) -> pytest.TestReport:
    path, line, _ = item.location
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=(path, line, item.name),
        keywords={},
        outcome="passed",
        longrepr=None,
        when=when,
    )
