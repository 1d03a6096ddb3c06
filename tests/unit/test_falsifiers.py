"""The falsifiers of this repository's gates: the text that each changes still exists."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from gateproof.faults.migration import MigrationFault
from gateproof.faults.source import SourceFault
from gateproof.stack.copy import HARNESS
from tests.criteria import GATES, ROOT


def faults() -> Iterator[SourceFault | MigrationFault]:
    """Return the faults of all checks that change a file."""
    for path in sorted(path for folder in GATES for path in folder.rglob("test_*.py")):
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        module = importlib.import_module(name)
        for check in vars(module).values():
            for mark in getattr(check, "pytestmark", ()):
                fault = getattr(mark.args[0], "fault", None) if mark.args else None
                if isinstance(fault, SourceFault | MigrationFault):
                    yield fault


@pytest.mark.parametrize("fault", list(faults()), ids=lambda fault: f"{fault.file}:{fault.name}")
def test_fault_finds_the_text_that_it_changes(fault: SourceFault | MigrationFault) -> None:
    """Its change applies exactly once to the present code."""
    root = ROOT
    if fault.tree == "harness":
        root = next(one for one in HARNESS if (one / fault.file).exists())
    before = (root / fault.file).read_text(encoding="utf-8")
    assert fault.change.apply(before) != before
