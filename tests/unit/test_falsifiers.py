"""The falsifiers of this repository's gates: the text that each changes still exists."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from gateproof.description.reading import load_sut
from gateproof.faults.code.file import FileFault
from gateproof.faults.code.migration import MigrationFault
from gateproof.faults.code.source import SourceFault
from gateproof.faults.described.file import load_falsifiers
from gateproof.stack.copy import HARNESS
from tests.criteria import GATES, ROOT

KINDS = SourceFault | MigrationFault | FileFault


def faults() -> Iterator[SourceFault | MigrationFault | FileFault]:
    """Return the faults that change a file: those of checks, and the system's own."""
    own = load_falsifiers(load_sut(ROOT / "system" / "sut.toml"))
    for falsifiers in own.by_criterion.values():
        yield from (one.fault for one in falsifiers if isinstance(one.fault, KINDS))
    for path in sorted(path for folder in GATES for path in folder.rglob("test_*.py")):
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        module = importlib.import_module(name)
        for check in vars(module).values():
            for mark in getattr(check, "pytestmark", ()):
                fault = getattr(mark.args[0], "fault", None) if mark.args else None
                if isinstance(fault, KINDS):
                    yield fault


@pytest.mark.parametrize("fault", list(faults()), ids=lambda fault: f"{fault.file}:{fault.name}")
def test_fault_finds_the_text_that_it_changes(
    fault: SourceFault | MigrationFault | FileFault,
) -> None:
    """Its change applies exactly once to the present code."""
    root = ROOT
    if fault.tree == "harness":
        root = next(one for one in HARNESS if (one / fault.file).exists())
    before = (root / fault.file).read_text(encoding="utf-8")
    assert fault.change.apply(before) != before
