"""The command ``gateproof doctor``: what a description can judge, without a server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.shop import write_shop

LIMIT_S = 5.0
"""Within this time the command answers."""

TENANTS = {f"RLS-{number:02}" for number in (1, 2, 4, 5, 8, 9, 10, 11)}
"""The criteria that need a database and tenants alone."""

TENANCY_ONLY = """
name = "orders"
root = "."

[database]
owner = "orders_owner"

[tenancy]
guc = "app.tenant_id"
key = "tenant_id"
"""


def doctor(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    command = [sys.executable, "-m", "gateproof_evidence", "doctor", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """Write a description with name, root, database and tenancy only."""
    path = tmp_path / "sut.toml"
    path.write_text(TENANCY_ONLY, encoding="utf-8")
    return path


def listed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the JSON of a run that succeeded."""
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_doctor_lists_what_a_small_description_can_judge(described: Path) -> None:
    """With a database and tenants alone, criteria of both are judgeable; others name their keys."""
    began = time.monotonic()
    found = listed(doctor(described.parent, "--json"))
    took_s = time.monotonic() - began
    criteria = {one["id"]: one for one in found["criteria"]}
    judgeable = {name for name, one in criteria.items() if one["status"] == "judgeable"}
    assert judgeable >= TENANTS
    assert criteria["RLS-12"]["status"] == "notdescribed", "it publishes a task"
    assert criteria["RUN-01"]["status"] == "notdescribed"
    assert criteria["RUN-01"]["missing"] == ["celery", "worker", "ping.expect", "task"]
    unlocks = {one["key"]: one for one in found["unlocks"]}
    assert "RUN-01" in unlocks["worker"]["criteria"]
    assert unlocks["worker"]["example"].startswith("[worker]\ncommand = ")
    assert took_s < LIMIT_S
    assert list(described.parent.iterdir()) == [described], "it leaves nothing behind"


def test_doctor_prints_a_line_for_each_criterion(described: Path) -> None:
    """People read the counts first, then each criterion, then the keys with an example."""
    text = doctor(described.parent, "--sut", str(described)).stdout
    assert text.startswith(f"orders ({described}): ")
    assert "\nRLS-11  judgeable\n" in text
    assert "\nSCH-02  not described   broker.kind, broker.tables" in text
    assert "\n    [dead_letters]\n    table = " in text


def test_doctor_quotes_the_statements_of_absence(tmp_path: Path) -> None:
    """A statement of absence makes criteria not applicable, with the reason."""
    described = write_shop(tmp_path / "shop")
    found = listed(doctor(tmp_path, "--sut", str(described), "--json"))
    criteria = {one["id"]: one for one in found["criteria"]}
    assert criteria["RLS-01"]["status"] == "notapplicable"
    assert "the shop has one customer (shop team)" in criteria["RLS-01"]["reason"]
    assert [one["feature"] for one in found["absent"]] == ["tenancy", "dead_letters"]


def test_doctor_refuses_a_description_that_is_not_valid(described: Path) -> None:
    """Every finding is listed, and the status is that of bad input."""
    described.write_text(f"{TENANCY_ONLY}\ncolour = 1\nkeey = 2\n", encoding="utf-8")
    done = doctor(described.parent)
    assert done.returncode == 4
    assert "tenancy.colour: unknown key" in done.stderr
    assert "tenancy.keey: unknown key, expected key" in done.stderr
    none = doctor(described.parent / "..", "--sut", "nowhere.toml", "--json")
    assert (none.returncode, json.loads(none.stdout)["ok"]) == (4, False)
