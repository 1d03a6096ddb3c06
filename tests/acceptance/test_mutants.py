"""What the proofs are for, tried on the gates themselves: no check without assertions is proven.

Two runs of gates of this repository: one in which every assertion of every check is taken out, one
in which every fault does nothing. `make test` does it with one gate, `make mutants` with all: that
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
GATES = os.environ.get("GATEPROOF_MUTANTS", "gates/idempotency").split()
"""What is run, relative to the repository."""

REFUSED_BY_PROBES = ("RUN-01", "eager")
"""Evidence from eager mode is refused by the harness's own probe, whatever a check asserts."""

EMPTY_INJECTIONS = f"""
# The kinds are imported when first asked for, and only then are classes that derive from Fault.
from gateproof import Fault, file, migration, network, process, settings, source, sql

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
"""A plugin under which no fault is injected, but for those of the harness's own specimens."""


class Blank(ast.NodeTransformer):
    """Takes every assertion out; what an assertion looked at is still looked at.

    That keeps the rest of a check running as it did: one looks at a worker by asking for it, and
    would else wait for an answer from a worker that nobody started.
    """

    def __init__(self) -> None:
        self.count = 0

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        """Put what it looked at in its place."""
        self.count += 1
        return ast.copy_location(ast.Expr(node.test), node)

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        """Take out what raises an assertion by name."""
        if node.exc is not None and "AssertionError" in ast.dump(node.exc):
            self.count += 1
            return ast.copy_location(ast.Pass(), node)
        return node


def blank(folder: Path) -> int:
    """Take the assertions out of every module of a folder; return how many there were."""
    blanked = Blank()
    for path in folder.rglob("*.py"):
        tree = blanked.visit(ast.parse(path.read_text(encoding="utf-8")))
        path.write_text(ast.unparse(tree), encoding="utf-8")
    return blanked.count


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository whose gates may be changed."""
    copy = tmp_path_factory.mktemp("mutants") / "project"
    copy_project(ROOT, copy)
    return copy


@pytest.fixture(scope="module")
def emptied(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """The run in which every injection does nothing."""
    folder = tmp_path_factory.mktemp("emptied")
    (folder / "emptied.py").write_text(EMPTY_INJECTIONS, encoding="utf-8")
    path = os.pathsep.join((str(folder), imported_from(project)))
    return judge(project, folder, "-p", "emptied", PYTHONPATH=path)


def imported_from(project: Path) -> str:
    """Return the folders that the copy's own harness, gates and system are imported from."""
    return os.pathsep.join(map(str, (project / "harness", project / "evidence", project)))


def judge(project: Path, out: Path, *arguments: str, **variables: str) -> Miniature:
    """Run gates of a copy of the repository, with proofs."""
    command = [sys.executable, "-m", "pytest", *GATES, "-q", "-p", "no:cacheprovider", "-n", "3"]
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
    """Return what each proof came to, and what was said of it, by criterion and falsifier."""
    return {
        (one["id"], proof["falsifier"]): (proof["result"], proof["message"])
        for one in ran.run["criteria"]
        if one["outcome"] != "notselected"
        for proof in one["proofs"]
    }


def test_faults_that_do_nothing_prove_nothing(emptied: Miniature) -> None:
    """With every injection emptied, the run names every falsifier void, and exits 100."""
    found = results(emptied)
    assert len(found) > (130 if GATES == ["gates/"] else 10), emptied.output
    others = {
        name: (result, said[:200])
        for name, (result, said) in found.items()
        if result != "void" or "did not land" not in said
    }
    assert others == {}
    said = "\n".join(emptied.run["reasons"])
    assert [name for _, name in found if f"{name}: the fault did not land" not in said] == []
    assert emptied.exit_status == INCOMPLETE, emptied.output


def test_checks_without_assertions_are_blind(
    project: Path, emptied: Miniature, tmp_path: Path
) -> None:
    """With every assertion taken out no check is proven: the run names each, and exits 100.

    One falsifier of each shows it. The check is blind, or void where it then stumbles over what an
    assertion would have caught: it takes the first of no rows.
    """
    first = dict(name for name in reversed(results(emptied)) if name != REFUSED_BY_PROBES)
    copy = tmp_path / "blank"
    copy_project(project, copy)
    assert blank(copy / "gates") > 100, "premise: the gates have assertions"
    # By criterion too: falsifiers of several criteria have one name.
    chosen = ",".join(f"{criterion}:{name}" for criterion, name in first.items())
    ran = judge(copy, tmp_path, f"--falsify={chosen}")
    found = {name: told for name, told in results(ran).items() if told[0] != "unproven"}
    assert {criterion for criterion, _ in found} == set(first), ran.output
    stumbled = "red by other, not by an assertion"
    seeing = {
        name: (result, said[:200])
        for name, (result, said) in found.items()
        if result != "blind" and not (result == "void" and said.startswith(stumbled))
    }
    assert seeing == {}
    blind = {criterion for (criterion, _), (result, _) in found.items() if result == "blind"}
    assert len(blind) >= 0.8 * len(first), sorted(set(first) - blind)
    said = "\n".join(ran.run["reasons"])
    assert [name for name in blind if f"{name} blind: " not in said] == []
    assert ran.exit_status == INCOMPLETE, ran.output
