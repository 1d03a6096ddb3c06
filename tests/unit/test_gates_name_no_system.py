"""Gates and harness run nothing of the reference system by name: only what a description names.

Imports are the business of import-linter. This reads the texts: programs that other interpreters
run, words of commands, and paths. Faults may name files, those of the harness; so may docstrings.
The names of the pack are the business of `tests.unit.test_pack_names_no_system`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest

from gateproof.description.key import RENAMES, all_keys
from gateproof.description.sut import Sut
from tests.criteria import ROOT

NAMES = ("system", "migrations")
FAULTS = {"source", "migration", "file", "falsified_by"}
"""Functions whose arguments are a fault, or a part of one."""
FOLDERS = ("gates", "harness/gateproof")
ALLOWED = {
    ("harness/gateproof/base/option.py", "system/sut.toml"),
}
"""The default of --sut, a path below the folder of the run, which need not exist; and a file that
stands for the system in a checkout that the check makes."""

KEYS = frozenset((*all_keys(Sut), *RENAMES))
"""Keys of a description, such as ``migrations.up``, which checks need, and their older names."""

MODULE = re.compile(rf"^({'|'.join(NAMES)})(\.\w+)+(:\w+)?$")
PATH = re.compile(rf"^(\./)?({'|'.join(NAMES)})/")
COMMAND = re.compile(rf"(-m|import|from)\s+({'|'.join(NAMES)})\b(?!\s+(of|and|to|is))")
"""A module in the text of a shell command, or in a program that is not complete."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text of a module."""

    line: int
    value: str
    constants: frozenset[str]
    """The names of the module's constants that it is, or is a part of."""


def texts(tree: ast.Module) -> Iterator[Text]:
    """Return the texts that are neither docstrings nor inside of a fault."""
    skipped = {id(node) for node in _faults(tree)} | {id(node) for node in _docstrings(tree)}
    for statement in tree.body:
        yield from _texts(statement, skipped, _targets(statement))


def names_outside_of_faults(tree: ast.Module) -> set[str]:
    """Return the names that are read anywhere but inside of a fault."""
    skipped = {id(node) for fault in _faults(tree) for node in ast.walk(fault)}
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {one.id for one in names if isinstance(one.ctx, ast.Load) and id(one) not in skipped}


def imported(tree: ast.Module) -> set[tuple[str, str]]:
    """Return the names that a module imports, each with the last part of the other module."""
    found = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {((one.module or "").split(".")[-1], each.name) for one in found for each in one.names}


def constants_that_are_read(trees: Mapping[str, ast.Module]) -> set[tuple[str, str]]:
    """Return the constants that are read outside of faults: module and name."""
    read = {name: names_outside_of_faults(tree) for name, tree in trees.items()}
    found = {(PurePosixPath(name).stem, one) for name, names in read.items() for one in names}
    for name, tree in trees.items():
        found |= {(module, one) for module, one in imported(tree) if one in read[name]}
    return found


def problems(text: str) -> str:
    """Return what a text names of the reference system; empty for nothing."""
    if text in KEYS:
        return ""
    if MODULE.match(text) or PATH.match(text):
        return text
    found = COMMAND.search(text)
    return found.group() if found else ""


def findings(sources: Mapping[str, str]) -> list[str]:
    """Return every text of these modules that names the reference system: path, line and text.

    A constant that only faults read may be the path of one of its files.
    """
    trees = {name: ast.parse(source) for name, source in sources.items()}
    read = constants_that_are_read(trees)

    def for_faults(name: str, text: Text) -> bool:
        used = {(PurePosixPath(name).stem, one) for one in text.constants} & read
        return bool(text.constants) and not used

    return [
        f"{name}:{text.line}: {problems(text.value)}"
        for name, tree in trees.items()
        for text in texts(tree)
        if problems(text.value) and not for_faults(name, text) and (name, text.value) not in ALLOWED
    ]


def _faults(tree: ast.Module) -> Iterator[ast.Call]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    named = (one for one in calls if isinstance(one.func, ast.Name) and one.func.id in FAULTS)
    yield from named


def _docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node


def _targets(statement: ast.stmt) -> frozenset[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    nodes = (node for one in targets for node in ast.walk(one))
    return frozenset(node.id for node in nodes if isinstance(node, ast.Name))


def _texts(node: ast.AST, skipped: set[int], constants: frozenset[str]) -> Iterator[Text]:
    if id(node) in skipped:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield Text(line=node.lineno, value=node.value, constants=constants)
    for inner in ast.iter_child_nodes(node):
        yield from _texts(inner, skipped, constants)


def test_gates_and_harness_name_nothing_of_the_reference_system() -> None:
    """No program, command or path of these folders names `system` or `migrations`."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 100, "premise: the folders have modules"
    sources = {one.relative_to(ROOT).as_posix(): one.read_text(encoding="utf-8") for one in files}
    assert findings(sources) == []


@pytest.mark.parametrize(
    "source",
    [
        "PROGRAM = '''\nimport sys\nfrom system.app import app\n'''\nrun(PROGRAM)",
        "def check():\n    run('from system.app import app')",
        "def check():\n    run(['{python}', '-m', 'system.dead_letters', 'replay'])",
        "def check():\n    run(f'python -m system.worker --pool={pool}')",
        "def check():\n    run(['bash', '-c', 'python -m system'])",
        "APP = 'system.app:app'\ndef check():\n    run(APP)",
        "APP, LIMIT = 'system.app:app', 3\ndef check():\n    run(APP)",
        "def check():\n    return Path('migrations/env.py').read_text()",
        "FILE = 'system/app.py'\n@falsified_by(source('a', FILE))\ndef check():\n    open(FILE)",
        "PROGRAM = '''\nif True:\n    import migrations\n'''\nrun(PROGRAM)",
    ],
)
def test_text_that_names_the_reference_system_is_found(source: str) -> None:
    """Each way in which a gate ran the reference system, or could run it, is a finding."""
    assert len(findings({"gates/x/test_x.py": source})) == 1


@pytest.mark.parametrize(
    "source",
    [
        "F = 'system/app.py'\n@falsified_by(source('a', F, 'import system.x'))\ndef check(): pass",
        "@falsified_by(file('a', 'migrations/env.py'), expect='system/app.py')\ndef check(): pass",
        "'''Start the worker with python -m system.worker.'''",
        "def check():\n    assert done, 'premise: the system of the description is there'",
        "def check():\n    fail('read from system to system')",
    ],
)
def test_text_of_a_fault_or_a_sentence_is_no_finding(source: str) -> None:
    """Falsifiers quote the system's files, and sentences have these words too."""
    assert findings({"gates/x/test_x.py": source}) == []
