"""The two distributions: small packages, declared imports, one version."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOST_ENTRIES = 12
PACKAGES = {"evidence": ("evidence/gateproof_evidence",), "harness": ("harness/gateproof", "gates")}
"""The folders that go into the wheel of each distribution."""

IN_THE_SYSTEM = (
    "harness/gateproof/guest",
    "gates/imports/interpreter.py",
)
"""Programs that run in the system's interpreter, and use its packages."""


def project(name: str) -> dict[str, Any]:
    """Return the metadata of a distribution."""
    text = (ROOT / name / "pyproject.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text)["project"])


def folders() -> Iterator[Path]:
    """Return the folder of every package of the two distributions."""
    for top in ("evidence/gateproof_evidence", "harness/gateproof"):
        yield from (path.parent for path in sorted((ROOT / top).rglob("__init__.py")))


@pytest.mark.parametrize("folder", list(folders()), ids=lambda path: str(path.relative_to(ROOT)))
def test_package_has_at_most_twelve_modules_and_subpackages(folder: Path) -> None:
    """A package is small enough that a newcomer can read all names of its folder."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert len(modules | packages) <= MOST_ENTRIES, sorted(modules | packages)


def imported(name: str) -> dict[str, str]:
    """Return the top-level modules that a distribution imports, each with one importing file."""
    found: dict[str, str] = {}
    for top in PACKAGES[name]:
        for path in sorted((ROOT / top).rglob("*.py")):
            place = path.relative_to(ROOT).as_posix()
            if place.startswith(IN_THE_SYSTEM):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [str(node.module)]
                found |= {one.split(".")[0]: place for one in names}
    return found


@pytest.mark.parametrize("name", list(PACKAGES))
def test_distribution_declares_its_imports(name: str) -> None:
    """Every third-party import belongs to a declared dependency, and each dependency is named."""
    own = project(name)
    declared = {re.split(r"[\[<>=~ ]", one)[0].lower() for one in own["dependencies"]}
    declared |= {own["name"], own["name"].replace("-", "_")}
    known = packages_distributions()
    third = {
        module: place
        for module, place in imported(name).items()
        if module not in sys.stdlib_module_names
    }
    undeclared = {
        module: place
        for module, place in third.items()
        if not {
            one.lower().replace("_", "-") for one in known.get(module, [module.replace("_", "-")])
        }
        & declared
    }
    assert undeclared == {}


def test_distributions_have_one_version() -> None:
    """The plugin requires the evidence package of its own version."""
    evidence, harness = project("evidence"), project("harness")
    assert evidence["version"] == harness["version"]
    assert f"gateproof-evidence=={evidence['version']}" in harness["dependencies"]
