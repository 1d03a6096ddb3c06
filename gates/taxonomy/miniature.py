"""Miniature runs: a gates folder of a few lines, run by a pytest of its own.

What the harness says of a red can only be seen from outside, in the bundle that a whole run wrote.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.probes.process import ProcessProbe
from harness.sut import Sut

CRITERION = """
[[criterion]]
id = "{id}"
gate = "miniature"
phase = "B0.1"
statement = "The claim of the miniature holds."
source = "gate taxonomy"
"""

HEADER = """
import sys
import pytest
from harness import criterion
from harness.errors import NotApplicableError

def observe(commands, sut):
    commands.run([sys.executable, "-c", "print('seen')"], env={}, folder=sut.folder)
"""

SOUND = """
@criterion("MIN-01")
def test_sound(commands, sut):
    observe(commands, sut)
"""


COMMAND = (
    *(sys.executable, "-m", "pytest", "gates", "-p", "no:cacheprovider"),
    *("--evidence-out", "reports", "--sut", "sut.toml", "--environment", "embedded"),
)
"""Runs the miniature in the working folder."""


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """What a miniature run came to."""

    exit_status: int
    output: str
    run: dict[str, Any]
    """Its ``run.json``; empty when it sealed no bundle."""

    def verdict(self, identifier: str) -> dict[str, Any]:
        """Return the verdict on one criterion; empty when there is none."""
        for verdict in self.run.get("criteria", ()):
            if verdict["id"] == identifier:
                return dict(verdict)
        return {}

    def judged(self, identifier: str) -> tuple[str | None, str | None]:
        """Return outcome and cause of one criterion."""
        verdict = self.verdict(identifier)
        return verdict.get("outcome"), verdict.get("cause")


def run_miniature(
    machine: ProcessProbe,
    sut: Sut,
    folder: Path,
    *,
    checks: str,
    ids: tuple[str, ...],
    arguments: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    worker_env: dict[str, str] | None = None,
) -> Miniature:
    """Write a gates folder and run it without proofs.

    Args:
        machine: runs pytest.
        sut: the system under test, for checks that need it.
        folder: an existing, empty folder.
        checks: source of the checks, after `HEADER`.
        ids: the ids of its catalogue.
        arguments: further arguments of pytest.
        env: further environment variables of the run itself.
        worker_env: further environment variables of the workers that it starts.

    """
    write_miniature(sut, folder, checks=checks, ids=ids, worker_env=worker_env or {})
    command = [*COMMAND, "--no-falsify", *arguments]
    done = machine.run(command, env=env or {}, folder=folder)
    return read_miniature(folder, exit_status=done.exit_status, output=done.output)


def write_miniature(
    sut: Sut, folder: Path, *, checks: str, ids: tuple[str, ...], worker_env: dict[str, str]
) -> None:
    """Write the gates, the catalogue and the description that `COMMAND` runs in a folder."""
    gates = folder / "gates"
    gates.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    catalogue = "".join(CRITERION.format(id=one) for one in ids)
    (gates / "criteria.toml").write_text(catalogue, encoding="utf-8")
    (gates / "test_miniature.py").write_text(HEADER + checks, encoding="utf-8")
    (folder / "sut.toml").write_text(_describe(sut, worker_env), encoding="utf-8")


def read_miniature(folder: Path, *, exit_status: int, output: str) -> Miniature:
    """Read what a miniature run left in its folder."""
    run = folder / "reports" / "latest" / "data" / "run.json"
    told = json.loads(run.read_text(encoding="utf-8")) if run.is_file() else {}
    return Miniature(exit_status=exit_status, output=output, run=told)


def _describe(sut: Sut, worker_env: dict[str, str]) -> str:
    """Return the system's description with an absolute root and another worker environment."""
    text = sut.path.read_text(encoding="utf-8")
    text, roots = re.subn(r"(?m)^root = .*$", f"root = {json.dumps(str(sut.folder))}", text)
    assert roots == 1, f"{sut.path}: got {roots} lines of root, expected one"
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in worker_env.items())
    return f"{text}\n[worker.env]\n{lines}"
