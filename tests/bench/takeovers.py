"""Look for results that would be taken over although they differ: random changes to the system.

``python -m tests.bench.takeovers --bundle BUNDLE``: makes random single changes to the code of the
reference system, each in a copy of the project. For each change it asks what a run with
``--changed`` would take over from the bundle, and runs some of that in the copy. A check that does
not pass there, or a proof that is not proven, is one that should not have been taken over.

The changes are of one statement or value: a number, a text, a comparison, a condition, a return
value, or a statement that is left out. They are drawn by the seed alone.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateproof.base.project import copy_project
from gateproof.run.dependence.source import EVERYTHING, Sources
from gateproof_evidence.cli.common import read_run
from gateproof_evidence.format.layout import JOURNAL
from gateproof_evidence.model import Falsification, Outcome
from gateproof_evidence.verification.earlier import Dependence, read_dependences

ROOT = Path(__file__).parents[2]
SYSTEM = ("system", "migrations")
LEFT_OUT = "system/gates"
LIMIT_S = 1800


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One change to one file."""

    path: str
    line: int
    what: str
    text: str
    """The new text of the file."""


def mutations_of(path: str, text: str) -> Iterator[Mutation]:
    """Yield all single changes to a module, in order."""
    count = sum(1 for _ in _places(ast.parse(text)))
    for number in range(count):
        tree = ast.parse(text)
        line, what, change = list(_places(tree))[number]
        change()
        yield Mutation(path=path, line=line, what=what, text=f"{ast.unparse(tree)}\n")


Place = tuple[int, str, Callable[[], None]]


def _places(tree: ast.Module) -> Iterator[Place]:
    """Yield line, words and act of each possible change."""
    for node in ast.walk(tree):
        yield from _values(node)
        yield from _statements(node)


def _values(node: ast.AST) -> Iterator[Place]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node.lineno, f"{node.value} negated", _set(node, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield node.lineno, f"{node.value} plus 1", _set(node, "value", node.value + 1)
    elif isinstance(node, ast.Compare):
        other = ast.NotEq() if isinstance(node.ops[0], ast.Eq) else ast.Eq()
        yield node.lineno, "another comparison", _set(node, "ops", [other, *node.ops[1:]])
    elif isinstance(node, ast.If | ast.IfExp):
        negated = ast.UnaryOp(op=ast.Not(), operand=node.test)
        yield node.lineno, "a condition negated", _set(node, "test", negated)
    elif isinstance(node, ast.Return) and node.value is not None:
        yield node.lineno, "nothing returned", _set(node, "value", ast.Constant(None))


def _statements(node: ast.AST) -> Iterator[Place]:
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return
    for index, one in enumerate(body):
        if isinstance(one, ast.Expr | ast.Assign | ast.AugAssign | ast.Raise):
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                continue  # a docstring
            yield one.lineno, "a statement left out", _replace(body, index)


def _set(node: ast.AST, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(node, name, value)


def _replace(body: list[ast.stmt], index: int) -> Callable[[], None]:
    def act() -> None:
        body[index] = ast.copy_location(ast.Pass(), body[index])

    return act


def draw(chosen: random.Random) -> Mutation:
    """Return a random change: of a random file, then of a random place in it."""
    files = [
        one
        for top in SYSTEM
        for one in sorted((ROOT / top).rglob("*.py"))
        if not one.is_relative_to(ROOT / LEFT_OUT)
    ]
    while True:
        path = chosen.choice(files)
        found = list(
            mutations_of(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        )
        if found:
            return chosen.choice(found)


@dataclass(frozen=True, kw_only=True)
class Item:
    """A check that passed in the bundle, or a proof that was proven."""

    criterion: str
    falsifier: str
    node: str
    dependence: Dependence

    @property
    def name(self) -> str:
        """Criterion, and falsifier after a colon."""
        return ":".join(filter(None, (self.criterion, self.falsifier)))


def items_of(bundle: Path) -> list[Item]:
    """Return what can be taken over from a bundle."""
    dependences = read_dependences((bundle / JOURNAL).read_bytes())
    good = set()
    for verdict in read_run(bundle).criteria:
        if verdict.outcome is Outcome.PASS:
            good.add((verdict.id, ""))
        good |= {
            (verdict.id, proof.falsifier)
            for proof in verdict.proofs
            if proof.result is Falsification.PROVEN
        }
    return [
        Item(criterion=key[0], falsifier=key[1], node=one.item, dependence=one)
        for key, one in sorted(dependences.items())
        if key in good
    ]


def taken_over(items: list[Item], project: Path) -> list[Item]:
    """Return the items that a run on a changed project would take over."""
    sources = Sources(project, lambda: "changed")
    changed = {
        unit
        for one in items
        for unit, before in one.dependence.uses.items()
        if unit == EVERYTHING or sources.digest(unit) != before
    }
    return [one for one in items if not changed & one.dependence.uses.keys()]


def run(items: list[Item], project: Path, out: Path) -> dict[str, str]:
    """Run items in a project; return those that are not as in the bundle, with why."""
    command = [sys.executable, "-m", "pytest", *(one.node for one in items), "-q", "-n", "4"]
    command += ["--environment", "embedded", "-p", "no:cacheprovider", "-pno:hypothesispytest"]
    command += ["--evidence-out", str(out), "--no-watch"]
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    latest = out / "latest"
    if not latest.exists():
        return {one.name: done.stdout[-400:] + done.stderr[-400:] for one in items}
    found: dict[str, str] = {}
    for verdict in read_run(latest).criteria:
        found[verdict.id] = "" if verdict.outcome is Outcome.PASS else verdict.message
        for proof in verdict.proofs:
            proven = proof.result is Falsification.PROVEN
            found[f"{verdict.id}:{proof.falsifier}"] = "" if proven else proof.message
    return {one.name: found[one.name] for one in items if found.get(one.name, "it did not run")}


def judge(
    mutation: Mutation, items: list[Item], chosen: random.Random, *, most: int
) -> dict[str, Any]:
    """Make a change in a copy, run some of what would be taken over, and return what differs."""
    folder = Path(tempfile.mkdtemp(prefix="takeover-"))
    project = folder / "project"
    try:
        copy_project(ROOT, project)
        (project / mutation.path).write_text(mutation.text, encoding="utf-8")
        kept = taken_over(items, project)
        sample = chosen.sample(kept, min(most, len(kept)))
        different = run(sample, project, folder / "reports") if sample else {}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "change": f"{mutation.path}:{mutation.line}: {mutation.what}",
        "taken_over": len(kept),
        "ran": len(sample),
        "different": different,
    }


def main() -> int:
    """Judge random changes, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("reports/latest"))
    parser.add_argument("--changes", type=int, default=200, help="how many (default: 200)")
    parser.add_argument("--items", type=int, default=20, help="of each, how many to run (20)")
    parser.add_argument("--whole", type=int, default=5, help="changes of which all are run (5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    options = parser.parse_args()
    chosen = random.Random(options.seed)
    items = items_of(options.bundle)
    wrong = 0
    for number in range(options.changes):
        most = len(items) if number < options.whole else options.items
        found = judge(draw(chosen), items, chosen, most=most)
        wrong += len(found["different"])
        line = json.dumps(found) if options.json else _line(found, len(items))
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    sys.stderr.write(f"{options.changes} changes, seed {options.seed}: {wrong} items differ\n")
    return 1 if wrong else 0


def _line(found: dict[str, Any], items: int) -> str:
    different = "; ".join(f"{name}: {why}" for name, why in found["different"].items())
    return (
        f"{found['change']}: {found['taken_over']} of {items} would be taken over, "
        f"{found['ran']} ran, {different or 'none differs'}"
    )


if __name__ == "__main__":
    sys.exit(main())
