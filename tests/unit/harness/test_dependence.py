"""Digests of what an item depends on: which change of a file counts for which part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof.run.dependence.gate_code import GateCode
from gateproof.run.dependence.source import EVERYTHING, MISSING, Sources, module_digests

MODULE = '''"""A module."""

import os

LIMIT = 3


def plain(number: int, least: int = 1) -> int:
    """Return a number."""
    def inner(more: int) -> int:
        return more + 1
    return inner(number) if number > least else 0


class Box:
    size = 2

    def fill(self) -> list[int]:
        return [0] * self.size

    @property
    def full(self) -> bool:
        return True

    @full.setter
    def full(self, value: bool) -> None:
        self.size = int(value)
'''
NAMES = {"", "plain", "Box.fill", "Box.full", "Box.full#2"}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("return inner(number)", "return inner(number + 1)", {"plain"}),
        ("return more + 1", "return more + 2", {"plain"}),
        ("return [0] * self.size", "return []", {"Box.fill"}),
        ("return True", "return False", {"Box.full"}),
        ("self.size = int(value)", "pass", {"Box.full#2"}),
        ("LIMIT = 3", "LIMIT = 4", {""}),
        ("size = 2", "size = 3", {""}),
        ("least: int = 1", "least: int = 2", {""}),
        ("@property", "@cached_property", {""}),
        ("def fill(self)", "def fill(self, _=0)", {""}),
        ('    """Return a number."""', '    """Return no number."""', {"", "plain"}),
        ("class Box:", "class Box(dict):", {""}),
        ("LIMIT = 3", "LIMIT = 3\n\n\ndef more() -> None:\n    pass", {"", "more"}),
        ("import os", "# a comment\nimport os", set()),
        ("return True", "return True  # always", set()),
        ("LIMIT = 3", "LIMIT = 3\n\n", set()),
    ],
)
def test_change_of_a_module_changes_the_parts_that_it_is_in(
    before: str, after: str, changed: set[str]
) -> None:
    """A body is its function's alone; all else is the module's; comments and lines are nothing."""
    assert MODULE.count(before) == 1
    old = module_digests(MODULE.encode())
    new = module_digests(MODULE.replace(before, after).encode())
    assert old.keys() == NAMES
    differing = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    assert differing == changed


def sources(root: Path) -> Sources:
    """Return the digests of a folder as it is now."""
    return Sources(root, lambda: "everything")


def test_units_have_the_digests_of_what_they_name(tmp_path: Path) -> None:
    """A file counts as a whole, a module without its functions; what is not there is missing."""
    (tmp_path / "one.py").write_text(MODULE)
    names = ("one.py", "one.py:", "one.py:plain", "one.py:gone", "two.py", "two.py:", EVERYTHING)
    before = sources(tmp_path).digests(names)
    assert [before[name] == MISSING for name in sorted(names)] == [
        name in {"one.py:gone", "two.py", "two.py:"} for name in sorted(names)
    ]
    (tmp_path / "one.py").write_text(MODULE.replace("return inner(number)", "return 7"))
    assert sources(tmp_path).changed(before) == ["one.py", "one.py:plain"]
    (tmp_path / "two.py").write_text("")
    assert sources(tmp_path).changed(before) == ["one.py", "one.py:plain", "two.py", "two.py:"]


def test_module_that_is_no_python_counts_as_a_whole(tmp_path: Path) -> None:
    """A module that this Python cannot parse changes with any of its bytes."""
    (tmp_path / "new.py").write_text("def syntax of the future\n")
    before = sources(tmp_path).digests(["new.py:", "new.py:some"])
    assert MISSING not in before.values()
    (tmp_path / "new.py").write_text("def syntax of the future \n")
    assert sources(tmp_path).changed(before) == ["new.py:", "new.py:some"]


GATE_FILES = {
    "conftest.py": "",
    "shared.py": "LIMIT = 1\n",
    "criteria.toml": "# catalogue\n",
    "rls/__init__.py": "",
    "rls/test_rls.py": "from . import rows\nfrom ..shared import LIMIT\n",
    "rls/rows.py": "from gates.deep.down import below\n",
    "deep/__init__.py": "",
    "deep/down.py": "import gates.deep.lower\n",
    "deep/lower.py": "",
    "queues/__init__.py": "",
    "queues/test_queues.py": "import os\n",
}


def write_gates(folder: Path, **others: str) -> Path:
    """Write a folder of gates, and return it."""
    gates = folder / "gates"
    for name, text in {**GATE_FILES, **others}.items():
        (gates / name).parent.mkdir(parents=True, exist_ok=True)
        (gates / name).write_text(text)
    return gates


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("rls/test_rls.py", True),
        ("rls/rows.py", True),
        ("shared.py", True),
        ("deep/down.py", True),
        ("deep/lower.py", True),
        ("deep/__init__.py", True),
        ("conftest.py", True),
        ("criteria.toml", True),
        ("queues/test_queues.py", False),
        ("queues/__init__.py", False),
    ],
)
def test_code_of_a_check_is_what_its_module_imports(
    name: str, counts: bool, tmp_path: Path
) -> None:
    """A module that it imports in any way counts, and every file of data; no other module does."""
    gates = write_gates(tmp_path)
    module = gates / "rls/test_rls.py"
    before = GateCode([gates]).digest(module)
    (gates / name).write_text(f"{GATE_FILES[name]}# changed\n")
    assert (GateCode([gates]).digest(module) != before) is counts


def test_module_that_can_import_anything_depends_on_all(tmp_path: Path) -> None:
    """Where a module imports by a computed name, each module of the folder counts."""
    text = "import importlib\nimportlib.import_module(NAME)\n"
    gates = write_gates(tmp_path, **{"rls/rows.py": text})
    module = gates / "rls/test_rls.py"
    before = GateCode([gates]).digest(module)
    (gates / "queues/test_queues.py").write_text("import sys\n")
    assert GateCode([gates]).digest(module) != before
