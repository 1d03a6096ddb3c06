"""The falsifiers of this repository's gates: the text that each changes still exists."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.faults.migration import MigrationFault
from gateproof.faults.source import SourceFault
from gateproof.stack.copy import HARNESS

ROOT = Path(__file__).parents[2]


def faults() -> Iterator[SourceFault | MigrationFault]:
    """Return the faults of all checks that change a file."""
    for path in sorted((ROOT / "gates").glob("*/test_*.py")):
        module = importlib.import_module(f"gates.{path.parent.name}.{path.stem}")
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
