"""The falsifiers of the pack: of every severe criterion at least two that fit any system."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from gateproof import Fault, Sut
from gateproof.description.reading import load_sut
from gateproof.faults.falsifier import Falsifier
from gateproof.run.declaration import Generator
from tests.criteria import GATES, ROOT, catalogue

PACK = GATES[0]
OF_FILES = {"source", "migration", "file"}
"""The kinds that change a file of a system; the system's own file has those."""
LEFT_OUT = ("taxonomy",)
"""The gate that judges the harness, whose files its falsifiers change."""
LEAST = 2
TO_DO = {"RUN-06": 1, "RUN-11": 0}
"""The severe criteria that have fewer, and how many they have."""


def declared(sut: Sut) -> Iterator[tuple[str, Fault]]:
    """Yield each falsifier that stands next to a check of the pack, with its criterion."""
    for path in sorted(PACK.rglob("test_*.py")):
        if path.parent.name in LEFT_OUT:
            continue
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for check in vars(importlib.import_module(name)).values():
            marks = getattr(check, "pytestmark", ())
            for identifier in (str(mark.args[0]) for mark in marks if mark.name == "criterion"):
                for mark in marks:
                    if mark.name == "falsified_by":
                        yield from ((identifier, one.fault) for one in made(sut, mark.args[0]))


def made(sut: Sut, one: Falsifier | Generator) -> tuple[Falsifier, ...]:
    """Return a declared falsifier, or those that are generated for a system."""
    return tuple(one.falsifiers(sut)) if isinstance(one, Generator) else (one,)


@pytest.fixture(scope="module")
def faults() -> dict[str, list[Fault]]:
    """Return the faults of each criterion of the pack."""
    found: dict[str, list[Fault]] = {}
    for identifier, fault in declared(load_sut(ROOT / "system" / "sut.toml")):
        found.setdefault(identifier, []).append(fault)
    return found


def test_no_falsifier_of_the_pack_changes_a_file(faults: dict[str, list[Fault]]) -> None:
    """A file belongs to one system: its falsifiers are entries of the system's own file."""
    named = [(name, one.name) for name, all_of_it in faults.items() for one in all_of_it]
    of_files = [(name, one.name) for name in faults for one in faults[name] if one.kind in OF_FILES]
    assert len(named) > 200
    assert of_files == []


def test_severe_criterion_has_two_falsifiers_for_any_system(
    faults: dict[str, list[Fault]],
) -> None:
    """With one, a check that is right about this one fault alone would count as proven."""
    severe = [
        one.id
        for one in catalogue().criteria
        if one.severity == "high" and one.id in faults.keys() | TO_DO.keys()
    ]
    assert len(severe) > 30
    counts = {name: len({one.describe() for one in faults.get(name, [])}) for name in severe}
    assert {name: count for name, count in counts.items() if count < LEAST} == TO_DO
