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
TO_DO: dict[str, int] = {}
"""The severe criteria that have fewer, and how many they have."""


def declared(sut: Sut, prefix: str = "") -> Iterator[tuple[str, Fault]]:
    """Yield each falsifier next to a check of the pack, with its criterion of this prefix."""
    for path in sorted(PACK.rglob("test_*.py")):
        if path.parent.name in LEFT_OUT:
            continue
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for check in vars(importlib.import_module(name)).values():
            marks = getattr(check, "pytestmark", ())
            ids = (str(mark.args[0]) for mark in marks if mark.name == "criterion")
            for identifier in (one for one in ids if one.startswith(prefix)):
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


def changed_files(found: dict[str, list[Fault]]) -> set[tuple[str, str]]:
    """Return the gate prefix and the file of each fault that changes a file."""
    all_faults = [(name, one) for name, listed in found.items() for one in listed]
    assert len(all_faults) > 100
    return {
        (n.partition("-")[0], str(vars(f)["file"])) for n, f in all_faults if f.kind in OF_FILES
    }


def test_no_falsifier_of_the_pack_names_a_file(faults: dict[str, list[Fault]]) -> None:
    """A file belongs to one system: only that of the described app is changed, whatever its name.

    An import is broken at the end of that module. All other falsifiers of files are entries of the
    system's own file.
    """
    assert changed_files(faults) == {("IMP", "system/app.py")}
    helpdesk = load_sut(ROOT / "docs/examples/helpdesk/sut.toml")
    files = {str(vars(fault)["file"]) for _, fault in declared(helpdesk, "IMP")}
    assert files == {"helpdesk/jobs.py"}


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
