"""The lease of a draft is measured by killing a worker; a broker that loses messages has none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gateproof.draft.watched.lease import measured_lease_s
from tests.integration.harness.conftest import ROOT, BringUps

EXAMPLES = ROOT / "docs/examples"


def injected(tmp_path: Path) -> Path:
    """Return a description of the reference system with the tasks of the harness."""
    text = (ROOT / "system/sut.toml").read_text(encoding="utf-8")
    head, _, rest = text.partition("[ping]")
    text = head + rest[rest.index("[task]") :]
    text = text.replace('root = ".."', f"root = {json.dumps(str(ROOT))}", 1)
    text = text.replace("[worker]\n", '[worker]\nprobe = "inject"\n', 1)
    path = tmp_path / "sut.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_lease_is_measured_by_the_message_that_comes_back(
    tmp_path: Path, bring_up: BringUps
) -> None:
    """A lease of three seconds, checked once a second, is measured as three to six."""
    stack = bring_up(injected(tmp_path)).shared()
    found = measured_lease_s(stack, "attribution_events", {})
    assert found is not None
    assert 3.0 <= found <= 6.0
    assert found == int(found)


def test_broker_that_loses_the_message_of_a_killed_worker_has_no_lease(
    tmp_path: Path, bring_up: BringUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task had begun; its message is gone, and another worker never gets it."""
    monkeypatch.setattr("gateproof.draft.watched.lease.BACK_DEADLINE_S", 4.0)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES / "helpdesk", tmp_path / "helpdesk", ignore=ignored)
    stack = bring_up(tmp_path / "helpdesk/sut.toml").shared()
    assert measured_lease_s(stack, "tickets", {}) is None
