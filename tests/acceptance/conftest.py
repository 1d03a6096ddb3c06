"""What whole runs share: miniature gates, and copies of the system that can be broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gateproof.base.sut import Sut, load_sut
from gates.taxonomy.miniature import COMMAND, Miniature, read_miniature, write_miniature

ROOT = Path(__file__).parents[2]
RUN_LIMIT_S = 300
LONGEST = ("test_environments.py", "test_broken_system.py", "test_nothing_is_lost.py")
"""The files that take minutes: begun first, so that none of them is left to one process at the end.
Needs xdist's `--no-loadscope-reorder`, which would begin with the files of most tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; within a file the order stays."""

    def rank(item: pytest.Item) -> int:
        return LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)

    items.sort(key=rank)


@pytest.fixture
def sut() -> Sut:
    """The reference system's description."""
    return load_sut(ROOT / "system" / "sut.toml")


@pytest.fixture
def run_gates(tmp_path: Path, sut: Sut) -> Callable[..., Miniature]:
    """Write a miniature gates folder and run it to its end."""

    def run(checks: str, ids: tuple[str, ...] = ("MIN-01",), *arguments: str) -> Miniature:
        if not (tmp_path / "gates").exists():
            write_miniature(sut, tmp_path, checks=checks, ids=ids)
        return rerun(*arguments)

    def rerun(*arguments: str) -> Miniature:
        done = run_command([*COMMAND, *arguments], folder=tmp_path)
        return read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)

    return run


def run_command(
    command: list[str],
    *,
    folder: Path,
    limit_s: float = RUN_LIMIT_S,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, both streams together; it is killed past the limit.

    Args:
        command: the program and its arguments.
        folder: its working folder.
        limit_s: how long it may take.
        env: variables that it gets in addition to those of the tests.

    """
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=limit_s,
    )


@pytest.fixture
def system_copy(tmp_path: Path) -> Path:
    """A copy of the system and its migrations, to be broken."""
    copy = tmp_path / "copy"
    for name in ("system", "migrations"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    return copy


def break_file(path: Path, before: str, after: str) -> None:
    """Replace a text that must stand in a file exactly once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path}: got {text.count(before)} of {before!r}, expected 1"
    path.write_text(text.replace(before, after), encoding="utf-8")


def judge_copy(copy: Path, out: Path, *checks: str) -> Miniature:
    """Run gates, or single files of them, without proofs, against a copy of the system."""
    command = [sys.executable, "-m", "pytest", *(f"gates/{one}" for one in checks)]
    command += ["--no-falsify", "-q", "-p", "no:cacheprovider", "--environment", "embedded"]
    command += ["-n", "3"]  # (mostly they wait)
    command += ["--evidence-out", str(out / "reports"), "--sut", str(copy / "system" / "sut.toml")]
    done = run_command(command, folder=ROOT)
    return read_miniature(out, exit_status=done.returncode, output=done.stdout)
