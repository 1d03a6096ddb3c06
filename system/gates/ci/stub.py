"""Stubs of all checks: the same criteria, files and names, and a system that can be broken.

The gates command judges them in seconds, so that its exit status can be observed for a sound
system, a broken one, and a check without a proof. A stub stands where its check stands: a selection
by path, name or mark leaves it out as it would leave out the check.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CATALOGUE, TABLE = "criteria.toml", "[[criterion]]"

_IMPORTS = "from gateproof import claim, criterion, falsified_by, source\n"
_FALSIFIER = """
@falsified_by(
    source("broken", "{state}", append="{id}", imports=False),
    expect=("criteria that the system violates", "{id}"),
)"""
_CHECK = """

@criterion("{id}"){falsifier}
def {name}(files):
    violated = files.read("{state}").split()
    claim(
        "criteria that the system violates",
        on="{id}",
        got=violated,
        relation="lacks",
        expected="{id}",
    )
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of a gate."""

    criterion: str
    name: str


def write_stubs(gates: Path, into: Path, *, state: str, few: bool = False) -> tuple[str, ...]:
    """Write a stub for each check of a gates folder, and return the ids of their criteria.

    Args:
        gates: the folder; the files at its top that are no checks are copied.
        into: the folder to make, without waivers: they name failures that the stubs do not have.
        state: path of the system of the stubs: a file that lists the criteria that it violates.
        few: whether only the first check of each gate gets a stub, and the catalogue has only
            these criteria. A claim about what is selected needs all.

    """
    into.mkdir(parents=True)
    for path in gates.iterdir():
        if path.is_file() and path.name != "waivers.toml" and not path.name.startswith("test_"):
            (into / path.name).write_bytes(path.read_bytes())
    found: list[str] = []
    paths = sorted(gates.rglob("test_*.py"))
    if few:
        paths = list({path.parent: path for path in reversed(paths)}.values())[::-1]
    for path in paths:
        checks = tuple(_checks(path))[: 1 if few else None]
        found += [check.criterion for check in checks]
        target = into / path.relative_to(gates)
        target.parent.mkdir(parents=True, exist_ok=True)
        (target.parent / "__init__.py").touch()
        target.write_text(stub_module(checks, state), encoding="utf-8")
    if few:
        catalogue = into / CATALOGUE
        catalogue.write_text(_only(catalogue.read_text(encoding="utf-8"), found), encoding="utf-8")
    return tuple(found)


def _only(catalogue: str, criteria: Iterable[str]) -> str:
    """Return a catalogue with only these criteria: its tables are the criteria, one by one."""
    head, *tables = catalogue.split(TABLE)
    kept = [one for one in tables if any(f'id = "{identifier}"' in one for identifier in criteria)]
    return TABLE.join((head, *kept))


def stub_module(checks: tuple[Check, ...], state: str) -> str:
    """Return the source code of the stubs of one module."""
    return _IMPORTS + "".join(
        _CHECK.format(
            id=check.criterion,
            name=check.name,
            state=state,
            falsifier=_FALSIFIER.format(id=check.criterion, state=state),
        )
        for check in checks
    )


def remove_proof(project: Path, criterion: str, *, state: str) -> None:
    """Remove the falsifier of one stub."""
    falsifier = _FALSIFIER.format(id=criterion, state=state)
    for path in project.rglob("gates/**/test_*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(falsifier, ""), encoding="utf-8")


def _checks(path: Path) -> Iterator[Check]:
    """Yield the checks of a module: its functions with a criterion."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "criterion":
                yield Check(criterion=str(ast.literal_eval(mark.args[0])), name=node.name)
