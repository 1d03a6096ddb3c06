"""Fixtures for whole runs: miniature gates, and copies of the system that a test may break."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.environments.process import PYTEST_NEEDS, LocalLauncher
from gates.taxonomy.miniature import (
    COMMAND,
    WITHOUT_OTHER_PLUGINS,
    Miniature,
    read_miniature,
    write_miniature,
)

ROOT = Path(__file__).parents[2]
RUN_LIMIT_S = 300
READ_AT_START = ("PYTHON", "LC_", "LANG")
"""Prefixes of variables that an interpreter reads only when it starts."""
HARNESS = (
    *("gateproof.plugin.hooks", "gateproof.plugin.fixtures", "gateproof_evidence.cli"),
    *("gateproof_evidence.reports.prepared", "gateproof_evidence.sealing.seal"),
)
"""Modules that a run of gates and the command `gateproof` import. A run on a changed harness starts
cold, since its `PYTHONPATH` has another one."""
GATEPROOF = (sys.executable, "-m", "gateproof_evidence")
"""The command `gateproof` in the form that can be forked; tests of the wheels run its script."""
FORKED_WORKERS = Path(__file__).with_name("forked_workers.py")
LONGEST = (
    "test_environments.py",
    "test_example.py",
    "test_broken_workflow.py",
    "test_mutate.py",
    "test_leftovers.py",
    "test_another_system.py",
    "test_boundary_in_containers.py",
    "test_tenants_of_any_system.py",
    "test_transport.py",
    "test_planted_defects.py",
    "test_changed.py",
    "test_tutorial.py",
    "test_lease.py",
    "test_nothing_is_lost.py",
    "test_shared_baselines.py",
    "test_blanked_checks.py",
    "test_broken_system.py",
    "test_probe_tasks.py",
)
"""The files that take minutes, also those of the integration tests, which run in the same pool.
They start first, so that none runs alone at the end. This needs `--no-loadscope-reorder`: by
default xdist starts with the files that have the most tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files; keep the order within a file, and that of all other files."""

    def rank(item: pytest.Item) -> int:
        return LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)

    items.sort(key=rank)


@pytest.fixture
def sut() -> Sut:
    """Return the description of the reference system."""
    return load_sut(ROOT / "system" / "sut.toml")


@pytest.fixture
def write_gates(tmp_path: Path, sut: Sut) -> Callable[..., None]:
    """Return a function that writes a miniature gates folder, for a test that changes it."""

    def write(checks: str, ids: tuple[str, ...] = ("MIN-01",)) -> None:
        write_miniature(sut, tmp_path, checks=checks, ids=ids)

    return write


@pytest.fixture
def run_gates(tmp_path: Path, sut: Sut) -> Callable[..., Miniature]:
    """Return a function that writes a miniature gates folder and runs it to completion."""

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
    """Run a command to completion with both streams in one; kill it after the limit.

    A command that starts pytest or `GATEPROOF` is forked from an interpreter that has imported its
    packages and the harness: this saves most of a short run. See
    `gateproof.environments.fork_server`.
    Variables that an interpreter reads only when it starts are those of `env` alone: with one of
    them, it starts cold.

    Args:
        command: the program and its arguments.
        folder: its working folder.
        limit_s: the longest it may run, in seconds.
        env: variables in addition to those of the tests.

    Raises:
        subprocess.TimeoutExpired: the limit has passed.

    """
    variables = {"TMPDIR": tempfile.gettempdir(), **inherited(), **(env or {})}
    options = (variables.get("PYTEST_ADDOPTS", ""), *WITHOUT_OTHER_PLUGINS)
    variables["PYTEST_ADDOPTS"] = " ".join(options)
    done = launcher().run(
        with_forked_workers(command, env or {}), env=variables, folder=folder, deadline_s=limit_s
    )
    if done.out_of_time:
        raise subprocess.TimeoutExpired(command, limit_s, output=done.output)
    return subprocess.CompletedProcess(command, done.exit_status, stdout=done.output)


def with_forked_workers(command: list[str], env: Mapping[str, str]) -> list[str]:
    """Return a command that starts pytest with workers so that it forks them, if it is forked."""
    program, words = command[:3], command[3:]
    cold = any(name.startswith(READ_AT_START) for name in env)
    if program != [sys.executable, "-m", "pytest"] or "-n" not in words or cold:
        return command
    return [sys.executable, "-c", FORKED_WORKERS.read_text(encoding="utf-8"), *words]


def create_key(name: str, *, folder: Path) -> None:
    """Create a signing key with `gateproof keygen` in a folder."""
    done = run_command([*GATEPROOF, "keygen", name], folder=folder)
    assert done.returncode == 0, done.stdout


def inherited() -> dict[str, str]:
    """Return the variables that a command gets from the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(READ_AT_START)}
    path = os.environ.get("PYTHONPATH")
    return {**kept, "PYTHONPATH": path} if path else kept


def run_piped(
    command: list[str], *, folder: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command like `run_command`, with its output in a pipe and not in a file.

    Limits on files, which a run sets for itself, do not apply to a pipe.
    """
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=RUN_LIMIT_S,
    )


@cache
def launcher() -> LocalLauncher:
    """Return the launcher of this process's commands; it and its files end with the process."""
    folder = tempfile.TemporaryDirectory(prefix="acceptance-")
    found = LocalLauncher(Path(folder.name), label={}, warm=(*PYTEST_NEEDS, *HARNESS))
    atexit.register(folder.cleanup)
    atexit.register(found.dispose)
    return found


@pytest.fixture
def system_copy(tmp_path: Path) -> Path:
    """Return a copy of the system and its migrations that a test may break."""
    copy = tmp_path / "copy"
    for name in ("system", "migrations"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    return copy


def break_file(path: Path, before: str, after: str) -> None:
    """Replace a text that must be in a file exactly once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path}: got {text.count(before)} of {before!r}, expected 1"
    path.write_text(text.replace(before, after), encoding="utf-8")


def judge_copy(copy: Path, out: Path, *checks: str) -> Miniature:
    """Run gates, or single files of them, without proofs, against a copy of the system.

    Args:
        copy: the folder with the copy.
        out: the folder that gets the bundle.
        *checks: paths below ``gates/``, or below the checkout for gates of the system.

    """
    paths = [one if one.startswith("system/") else f"gates/{one}" for one in checks]
    command = [sys.executable, "-m", "pytest", *paths]
    command += ["--no-falsify", "-q", "-p", "no:cacheprovider", "--environment", "embedded"]
    # Each process starts a PostgreSQL and a worker of its own.
    command += ["-n", "2"] if any(not one.endswith(".py") for one in paths) or paths[2:] else []
    command += ["--evidence-out", str(out / "reports"), "--sut", str(copy / "system" / "sut.toml")]
    done = run_command(command, folder=ROOT)
    return read_miniature(out, exit_status=done.returncode, output=done.stdout)
