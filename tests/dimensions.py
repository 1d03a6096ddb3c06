"""The dimensions of each criterion: which falsifiers it has in each, or why it has none.

Owns reading the two data files and the page that shows them. The page is generated:
`python -m tests.dimensions > docs/reference/dimensions.md`.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

from gateproof import Sut
from gateproof.description.reading import load_sut
from gateproof.faults.described.file import load_falsifiers
from gateproof.faults.falsifier import Falsifier
from gateproof.run.declaration import Generator
from tests.criteria import GATES, ROOT, catalogue

FILES = tuple(folder / "dimensions.toml" for folder in GATES)
DIMENSIONS = ("input", "state", "order", "actor", "amount", "crash point", "environment")
"""The ways in which the circumstances of a claim differ, in the order of the page."""
MEANINGS = {
    "input": "another value or shape of what is given: arguments, requests, settings, documents",
    "state": "another state that it meets: of rows, of definitions, of connections",
    "order": "another order, or at the same time",
    "actor": "another role, process, publisher or command",
    "amount": "another number, size or duration",
    "crash point": "a process, a connection or a server ends at another moment",
    "environment": "another machine, pool, zone, variable or set of servers",
}
SUT = ROOT / "system" / "sut.toml"

Cell = tuple[tuple[str, ...], tuple[str, ...]]
"""The falsifiers, and the reasons, of one criterion in one dimension."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why some criteria have no falsifier in a dimension."""

    dimension: str
    criteria: tuple[str, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """The content of the files."""

    falsifiers: Mapping[str, Mapping[str, Sequence[str]]]
    """Criterion to dimension to names, which are patterns of falsifiers that are generated."""
    reasons: Sequence[Reason] = field(default_factory=tuple)

    def cell(self, criterion: str, dimension: str) -> Cell:
        """Return what a criterion has in a dimension."""
        names = tuple(self.falsifiers.get(criterion, {}).get(dimension, ()))
        why = (
            one.text
            for one in self.reasons
            if one.dimension == dimension and criterion in one.criteria
        )
        return names, tuple(why)


def load(paths: Sequence[Path] = FILES) -> Dimensions:
    """Return the content of the files, as one table.

    Raises:
        KeyError: a reason lacks a key.
        TypeError: a reason has an unknown key.

    """
    falsifiers: dict[str, dict[str, list[str]]] = {}
    reasons: list[Reason] = []
    for path in paths:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        for criterion, by_dimension in content["falsifiers"].items():
            for dimension, names in by_dimension.items():
                falsifiers.setdefault(criterion, {}).setdefault(dimension, []).extend(names)
        reasons += [
            Reason(**{**one, "criteria": tuple(one["criteria"])}) for one in content["reason"]
        ]
    return Dimensions(falsifiers=falsifiers, reasons=tuple(reasons))


def declared() -> dict[str, set[str]]:
    """Return the names of all falsifiers of each criterion, for the reference system."""
    found: dict[str, set[str]] = {}
    sut = load_sut(SUT)
    own = load_falsifiers(sut).by_criterion
    for criterion, listed in own.items():
        found.setdefault(criterion, set()).update(one.fault.name for one in listed)
    suts = (sut, _with_a_process_that_needs_a_worker(sut))
    for criterion, mark in _marks():
        falsifiers = (one for described in suts for one in made(described, mark))
        found.setdefault(criterion, set()).update(one.fault.name for one in falsifiers)
    return found


def _with_a_process_that_needs_a_worker(sut: Sut) -> Sut:
    """Return a description with the one feature of the pack that the reference system lacks."""
    needy = [one.model_copy(update={"must_fail_without": ("worker",)}) for one in sut.process]
    return sut.model_copy(update={"process": tuple(needy)})


def made(sut: Sut, one: Falsifier | Generator) -> tuple[Falsifier, ...]:
    """Return a declared falsifier, or those that are generated for a system."""
    return tuple(one.falsifiers(sut)) if isinstance(one, Generator) else (one,)


def _marks() -> Iterator[tuple[str, Falsifier | Generator]]:
    for path in sorted(path for folder in GATES for path in folder.rglob("test_*.py")):
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for check in vars(importlib.import_module(name)).values():
            marks = getattr(check, "pytestmark", ())
            for criterion in (str(one.args[0]) for one in marks if one.name == "criterion"):
                yield from ((criterion, one.args[0]) for one in marks if one.name == "falsified_by")


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether one of some patterns is the name of a falsifier."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def page() -> str:
    """Return the page."""
    known = load()
    lines = [
        "# Dimensions of the criteria",
        "",
        "A check can see the fault that was written for it and miss the same defect under other",
        "circumstances. So each criterion has, in each of seven dimensions, falsifiers of that",
        "dimension, or a reason why its claim has no such dimension. The tables count falsifiers,",
        "and a dash stands for a reason. A falsifier that is generated for several objects counts",
        "once, and `*` stands for the table, the function or the process in its name.",
        "",
        *(f"- *{name}*: {meaning}" for name, meaning in MEANINGS.items()),
        "",
        "This page is generated from `gates/dimensions.toml` and `system/gates/dimensions.toml`:",
        "`python -m tests.dimensions > docs/reference/dimensions.md`.",
    ]
    for gate, group in groupby(catalogue().criteria, key=lambda one: one.gate):
        criteria = [one.id for one in group]
        lines += ["", f"## {_heading(gate, lines)}", "", f"| | {' | '.join(DIMENSIONS)} |"]
        lines += [f"|---|{'---|' * len(DIMENSIONS)}", *(_row(known, one) for one in criteria)]
        for criterion in criteria:
            lines += ["", f"**{criterion}**", "", *_details(known, criterion)]
    return "\n".join(lines) + "\n"


def _heading(gate: str, lines: Sequence[str]) -> str:
    """Return the heading of a gate, whose criteria can be in both catalogues."""
    first = f"## Gate {gate}" not in lines
    return f"Gate {gate}" if first else f"Gate {gate}, criteria of the reference system"


def _row(known: Dimensions, criterion: str) -> str:
    counts = [str(len(known.cell(criterion, one)[0]) or "–") for one in DIMENSIONS]
    return f"| {criterion} | {' | '.join(counts)} |"


def _details(known: Dimensions, criterion: str) -> Iterator[str]:
    for dimension in DIMENSIONS:
        names, reasons = known.cell(criterion, dimension)
        shown = ", ".join(f"`{name}`" for name in names) or f"none: {'; '.join(reasons)}"
        yield f"- *{dimension}*: {shown}"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 (its output)
