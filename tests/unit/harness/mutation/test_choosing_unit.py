"""The place of a change in a module, by which checks are chosen for a mutant."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof import source, sql
from gateproof.faults.code.text import Addition, Body, Change, Part, Replacement
from gateproof.proof.mutation.choosing.unit import unit_at, units_of, units_of_faults

TEXT = """\
import os

CLAIM = \"\"\"
    SELECT id
    LIMIT 1
\"\"\"
limit: int = 3

class Queue:
    size = 4

    @property
    def free(self):
        def inner():
            return 5
        return inner() - 6

if os.name:
    def late():
        return 7
"""


@pytest.mark.parametrize(
    ("at", "unit"),
    [
        ("import", ""),
        ("LIMIT 1", "CLAIM"),
        ("= 3", "limit"),
        ("= 4", "Queue.size"),
        ("@property", "Queue.free"),
        ("return 5", "Queue.free"),
        ("- 6", "Queue.free"),
        ("class", "Queue"),
        ("return 7", "late"),
    ],
)
def test_unit_is_the_function_or_the_variable(at: str, unit: str) -> None:
    """Methods and attributes have their class before them; an inner function is part of its own."""
    assert unit_at(TEXT, TEXT.index(at)) == unit


@pytest.mark.parametrize(
    ("change", "units"),
    [
        (Body(function="Queue.free", body="return 0"), {"Queue.free"}),
        (Replacement(before="    LIMIT 1\n", after=""), {"CLAIM"}),
        (Replacement(before='"""\nlimit: int = 3\n', after=""), {"CLAIM", "limit"}),
        (Replacement(before="gone", after=""), set()),
        (Part(start=TEXT.index("7"), end=TEXT.index("7") + 1, after="8"), {"late"}),
        (Addition(lines="x = 1"), {""}),
    ],
)
def test_change_concerns_the_units_of_its_place(change: Change, units: set[str]) -> None:
    """A replaced text concerns its first and its last line; a text that is not there nothing."""
    assert set(units_of(TEXT, change)) == units


def test_faults_concern_the_units_of_the_files_that_they_change(tmp_path: Path) -> None:
    """A file without the place, or that is no module, has no unit; only the source counts."""
    (tmp_path / "a.py").write_text(TEXT)
    (tmp_path / "b.py").write_text("def (")
    faults = [
        source("one", "a.py", "LIMIT 1", "LIMIT 2"),
        source("two", "a.py", function="Queue.free", body="return 0"),
        source("gone", "c.py", "a", "b"),
        source("broken", "b.py", "def", "class"),
        sql("three", "SELECT 1", landing="SELECT 1"),
    ]
    assert units_of_faults(faults, tmp_path) == {
        ("a.py", "CLAIM"), ("a.py", "Queue.free"), ("b.py", ""), ("c.py", ""),
    }  # fmt: skip
