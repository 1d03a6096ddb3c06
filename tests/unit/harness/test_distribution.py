"""The number of processes of a run of gates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from xdist import plugin

from gateproof.base.option import AUTO_VARIABLE, PROCESSES_PER_CORE

PLUGIN = """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config):
    chosen = yield
    raise pytest.UsageError(f"chosen: {chosen}")
"""


def chosen(folder: Path, env: dict[str, str]) -> str:
    """Return the number that `-n auto` chooses for the path `gates` in a folder."""
    (folder / "asking.py").write_text(PLUGIN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "asking", "-n", "auto", "gates"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if "chosen: " in line]
    assert lines, f"premise: the hook was called\n{done.stderr}"
    return lines[0].rpartition("chosen: ")[2].strip()


@pytest.mark.parametrize(("named", "expected"), [("", None), ("7", "7")])
def test_gates_use_several_processes_per_core(
    tmp_path: Path, named: str, expected: str | None
) -> None:
    """`-n auto` starts more processes than cores for gates, unless a variable sets the number."""
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "criteria.toml").touch()
    own = str(PROCESSES_PER_CORE * len(os.sched_getaffinity(0)))
    assert chosen(tmp_path, {AUTO_VARIABLE: named}) == (expected or own)


def test_other_runs_use_the_choice_of_xdist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a project without a catalogue, xdist chooses."""
    monkeypatch.delenv(AUTO_VARIABLE, raising=False)
    config = SimpleNamespace(option=SimpleNamespace(numprocesses="auto"))
    (tmp_path / "gates").mkdir()
    assert chosen(tmp_path, {AUTO_VARIABLE: ""}) == str(
        plugin.pytest_xdist_auto_num_workers(config)
    )
