"""Proofs tested on the gates themselves: a check without assertions is not proven.

Two runs of gates of this repository: in one, every assertion of every check is removed; in the
other, every fault does nothing. `make test` uses one gate, `make blanked-checks` all of them, which
takes about as long as judging them twice.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateproof.base.project import copy_project
from gateproof_evidence.judging.proof import SPECIMENS
from gates.taxonomy.miniature import Miniature, read_miniature
from tests.acceptance.conftest import ROOT

INCOMPLETE = 100
RUN_LIMIT_S = 2400
GATES = os.environ.get("GATEPROOF_BLANKED", "system/gates/idempotency").split()
"""The gates to run, relative to the repository."""

REFUSED_BY_PROBES = ("RUN-01", "eager")
"""Evidence from eager mode is refused by the harness's own probe, whatever a check asserts."""

EMPTY_INJECTIONS = f"""
# The kinds are imported at first use; before that, they are no subclasses of Fault.
from gateproof import Fault, file, migration, network, process, settings, source, sql
from gateproof import http, inject, logs, message

def kinds(of=Fault):
    for kind in of.__subclasses__():
        yield kind
        yield from kinds(kind)

def emptied(inject):
    def do_nothing(fault, copy):
        if fault.name in {sorted(SPECIMENS)!r}:
            inject(fault, copy)
    return do_nothing

for kind in set(kinds()):
    kind.inject = emptied(kind.inject)
"""
"""A plugin that injects no fault except those of the harness's own specimens."""


class Blank(ast.NodeTransformer):
    """Replaces every assertion by the expression that it tests, and lets every claim hold.

    The expression is still evaluated, because the rest of a check may need its effect: requesting a
    fixture starts a worker, for example, and without it the check would wait for no worker.
    """

    def __init__(self) -> None:
        self.count = 0

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        """Replace an assertion by its expression."""
        self.count += 1
        return ast.copy_location(ast.Expr(node.test), node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Let a claim hold whatever it observes; its values are still evaluated."""
        self.generic_visit(node)
        if not (isinstance(node.func, ast.Name) and node.func.id == "claim"):
            return node
        self.count += 1
        values = [one for one in node.keywords if one.arg in ("got", "expected")]
        seen = ast.Tuple([*(one.value for one in values), ast.Constant(True)], ast.Load())
        holds = [
            ast.keyword("got", ast.Subscript(seen, ast.Constant(-1), ast.Load())),
            ast.keyword("expected", ast.Constant(True)),
        ]
        others = [one for one in node.keywords if one.arg in ("on", "over")]
        return ast.copy_location(ast.Call(node.func, node.args, [*others, *holds]), node)

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        """Remove a statement that raises an AssertionError by name."""
        if node.exc is not None and "AssertionError" in ast.dump(node.exc):
            self.count += 1
            return ast.copy_location(ast.Pass(), node)
        return node


def blank(folder: Path) -> int:
    """Remove the assertions from every module of a folder; return how many there were."""
    blanked = Blank()
    for path in folder.rglob("*.py"):
        tree = blanked.visit(ast.parse(path.read_text(encoding="utf-8")))
        path.write_text(ast.unparse(tree), encoding="utf-8")
    return blanked.count


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this repository whose gates a test may change."""
    copy = tmp_path_factory.mktemp("blanked") / "project"
    copy_project(ROOT, copy)
    return copy


@pytest.fixture(scope="module")
def emptied(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """Return the run in which every injection does nothing."""
    folder = tmp_path_factory.mktemp("emptied")
    (folder / "emptied.py").write_text(EMPTY_INJECTIONS, encoding="utf-8")
    path = os.pathsep.join((str(folder), imported_from(project)))
    return judge(project, folder, "-p", "emptied", PYTHONPATH=path)


def imported_from(project: Path) -> str:
    """Return the folders from which the harness, gates and system of the copy are imported."""
    return os.pathsep.join(map(str, (project / "harness", project / "evidence", project)))


def judge(project: Path, out: Path, *arguments: str, **variables: str) -> Miniature:
    """Run gates of a copy of the repository, with proofs."""
    command = [sys.executable, "-m", "pytest", *GATES, "-q", "-p", "no:cacheprovider"]
    command += ["-n", "3" if GATES == ["gates/"] else "2"]
    command += ["--environment", "embedded", "--evidence-out", str(out / "reports"), *arguments]
    done = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, "PYTHONPATH": imported_from(project), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_LIMIT_S,
    )
    return read_miniature(out, exit_status=done.returncode, output=done.stdout + done.stderr)


def results(ran: Miniature) -> dict[tuple[str, str], tuple[str, str]]:
    """Return result and message of each proof, by criterion and falsifier."""
    return {
        (one["id"], proof["falsifier"]): (proof["result"], proof["message"])
        for one in ran.run["criteria"]
        if one["outcome"] != "notselected"
        for proof in one["proofs"]
    }


def test_faults_that_do_nothing_prove_nothing(emptied: Miniature) -> None:
    """When every injection does nothing, each falsifier is void, and the run exits with 100."""
    found = results(emptied)
    assert len(found) > (130 if GATES == ["gates/"] else 10), emptied.output
    others = {
        name: (result, message[:200])
        for name, (result, message) in found.items()
        if result != "void" or "did not land" not in message
    }
    assert others == {}
    reasons = "\n".join(emptied.run["reasons"])
    assert [name for _, name in found if f"{name}: the fault did not land" not in reasons] == []
    assert emptied.exit_status == INCOMPLETE, emptied.output


def test_checks_without_assertions_are_blind(
    project: Path, emptied: Miniature, tmp_path: Path
) -> None:
    """Without assertions no check is proven: the run names each, and exits with 100.

    One falsifier of each check is run. The check is blind, or void when it raises an error that an
    assertion would have prevented, such as reading the first row of an empty result, or waiting for
    a second worker where the first one's failure would have ended the check.
    """
    first = dict(name for name in reversed(results(emptied)) if name != REFUSED_BY_PROBES)
    copy = tmp_path / "blank"
    copy_project(project, copy)
    assert blank(copy / "gates") > 100, "premise: the gates have assertions"
    assert blank(copy / "system" / "gates") > 5, "premise: the system's own gate has assertions"
    # The criterion is named too, because falsifiers of several criteria share a name.
    chosen = ",".join(f"{criterion}:{name}" for criterion, name in first.items())
    ran = judge(copy, tmp_path, f"--falsify={chosen}")
    found = {name: proof for name, proof in results(ran).items() if proof[0] != "unproven"}
    assert {criterion for criterion, _ in found} == set(first), ran.output
    other_error = ("red by other, not by an assertion", "red by notready, not by an assertion")
    not_blind = {
        name: (result, message[:200])
        for name, (result, message) in found.items()
        if result != "blind" and not (result == "void" and message.startswith(other_error))
    }
    assert not_blind == {}
    blind = {criterion for (criterion, _), (result, _) in found.items() if result == "blind"}
    assert len(blind) >= 0.8 * len(first), sorted(set(first) - blind)
    reasons = "\n".join(ran.run["reasons"])
    assert [name for name in blind if f"{name} blind: " not in reasons] == []
    assert ran.exit_status == INCOMPLETE, ran.output
