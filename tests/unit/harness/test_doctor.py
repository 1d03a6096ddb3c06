"""The diagnosis of a description: statuses from the source of checks, without importing them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateproof.description.reading import load_sut
from gateproof.draft.doctor import Diagnosis, diagnose, doctor
from gateproof_evidence.errors import BadInputError

CRITERION = """
[[criterion]]
id = "{}"
gate = "own"
phase = "B0.1"
severity = "low"
statement = "A claim about the system"
source = "a test"
"""
IDS = ("OWN-01", "OWN-02", "OWN-03", "OWN-04", "OWN-05", "OWN-06")

CHECKS = """
raise RuntimeError("a check must not be imported")
NEEDS = ("tenancy", "worker")

@criterion("OWN-01")
def test_without_needs(): ...

@gateproof.criterion("OWN-02", needs=NEEDS)
def test_with_a_constant(): ...

class TestGroup:
    @criterion("OWN-03", needs="broker.kind=redis", limit_s=5)
    def test_in_a_class(self): ...

@criterion("OWN-04", needs=tuple(NEEDS))
def test_with_computed_needs(): ...

@criterion("OWN-05", needs="tenancy.guc")
def test_with_a_key(): ...
"""

DESCRIPTION = """
name = "orders"
root = "."
gates = ["gates"]
[broker]
kind = "sqla"
[tenancy]
guc = "app.tenant"
key = "tenant"
"""


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """Write a description with a folder of gates."""
    (tmp_path / "gates").mkdir()
    catalogue = "".join(map(CRITERION.format, IDS))
    (tmp_path / "gates" / "criteria.toml").write_text(catalogue, encoding="utf-8")
    (tmp_path / "gates" / "test_own.py").write_text(CHECKS, encoding="utf-8")
    (tmp_path / "sut.toml").write_text(DESCRIPTION, encoding="utf-8")
    return tmp_path / "sut.toml"


def diagnoses(described: Path) -> dict[str, Diagnosis]:
    """Return the diagnoses by id."""
    return {one.id: one for one in diagnose(load_sut(described))}


def test_each_criterion_has_the_status_of_its_needs(described: Path) -> None:
    """Needs are literals or constants; what cannot be read is unknown, and never judgeable."""
    found = diagnoses(described)
    assert {name: one.status for name, one in found.items()} == {
        "OWN-01": "judgeable",
        "OWN-02": "notdescribed",
        "OWN-03": "notapplicable",
        "OWN-04": "unknown",
        "OWN-05": "judgeable",
        "OWN-06": "unknown",
    }
    assert found["OWN-02"].missing == ("worker",)
    assert found["OWN-03"].reason == "broker.kind: got sqla, expected redis to judge it"
    assert found["OWN-04"].reason == "its needs are not literals"
    assert found["OWN-06"].reason == "no check judges it"


def test_need_that_no_description_can_have_is_refused_with_its_place(described: Path) -> None:
    """The message names the file and the line of the check."""
    path = described.parent / "gates" / "test_own.py"
    path.write_text('@criterion("OWN-01", needs="tenacy")\ndef test(): ...\n', encoding="utf-8")
    with pytest.raises(BadInputError, match=r"test_own\.py:1: needs: got 'tenacy'"):
        diagnose(load_sut(described))


def test_check_that_is_no_python_is_refused(described: Path) -> None:
    """A file that cannot be read would hide its criteria."""
    (described.parent / "gates" / "test_own.py").write_text("def (", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"test_own\.py: check: cannot be read as Python"):
        diagnose(load_sut(described))


def test_broker_that_is_not_started_is_a_warning(described: Path) -> None:
    """Criteria that run tasks are judgeable by their needs, but no run can start their worker."""
    checks = described.parent / "gates" / "test_own.py"
    needs = '@criterion("OWN-01", needs=("worker", "task"))'
    text = checks.read_text(encoding="utf-8").replace('@criterion("OWN-01")', needs)
    checks.write_text(text, encoding="utf-8")
    more = '[worker]\ncommand = ["{python}"]\nrole = "app"\n[task."orders.pay"]\nqueue = "pay"\n'
    text = described.read_text(encoding="utf-8") + more
    described.write_text(text, encoding="utf-8")
    assert "WARNING" not in CliRunner().invoke(doctor, ["--sut", str(described)]).output
    described.write_text(text.replace('kind = "sqla"', 'kind = "redis"'), encoding="utf-8")
    shown = CliRunner().invoke(doctor, ["--sut", str(described)]).output
    assert "WARNING: broker.kind: got redis, expected sqla" in shown
    assert "Criteria that run tasks cannot be judged: OWN-01" in shown
