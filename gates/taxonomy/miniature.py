"""Miniature runs: a gates folder of a few lines, run by a pytest of its own.

What the harness says of a red can only be seen from outside, in the bundle that a whole run wrote.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateproof import ProcessProbe, Sut

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
from gateproof import criterion
from gateproof import NotApplicableError

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

NO_PROOFS = ("--falsify", "none")

RUN_DEADLINE_S, LIMIT_S = 120.0, 300.0
"""For one miniature run, its own PostgreSQL included, on a busy machine; and for a whole check."""


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

    def proven(self, identifier: str) -> dict[str, tuple[str, str]]:
        """Return what each falsifier of one criterion came to, and what is said of it."""
        proofs = self.verdict(identifier).get("proofs", ())
        return {proof["falsifier"]: (proof["result"], proof["message"]) for proof in proofs}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where miniatures are written, and run by the harness under judgement."""

    machine: ProcessProbe
    """Runs pytest."""
    sut: Sut
    """The system under test, for checks that need it."""
    harness: tuple[Path, ...]
    """The folders that the harness is imported from."""
    folder: Path

    def run(
        self,
        checks: str,
        *,
        ids: tuple[str, ...],
        arguments: tuple[str, ...] = (),
        path: tuple[Path, ...] = (),
        env: dict[str, str] | None = None,
        conftest: str = "",
    ) -> Miniature:
        """Write a gates folder and run it.

        Args:
            checks: source of the checks, after `HEADER`.
            ids: the ids of its catalogue.
            arguments: further arguments of pytest.
            path: further folders for PYTHONPATH, after the harness's.
            env: further environment variables of the run itself.
            conftest: source of a conftest.py.

        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        write_miniature(self.sut, folder, checks=checks, ids=ids)
        if conftest:
            (folder / "gates" / "conftest.py").write_text(conftest, encoding="utf-8")
        searched = os.pathsep.join(map(str, (*self.harness, *path)))
        done = self.machine.run(
            [*COMMAND, *arguments],
            env={"PYTHONPATH": searched, **(env or {})},
            folder=folder,
            deadline_s=RUN_DEADLINE_S,
        )
        return read_miniature(folder, exit_status=done.exit_status, output=done.output)


def write_miniature(sut: Sut, folder: Path, *, checks: str, ids: tuple[str, ...]) -> None:
    """Write the gates, the catalogue and the description that `COMMAND` runs in a folder."""
    gates = folder / "gates"
    gates.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    catalogue = "".join(CRITERION.format(id=one) for one in ids)
    (gates / "criteria.toml").write_text(catalogue, encoding="utf-8")
    (gates / "test_miniature.py").write_text(HEADER + checks, encoding="utf-8")
    (folder / "sut.toml").write_text(_describe(sut), encoding="utf-8")


def read_miniature(folder: Path, *, exit_status: int, output: str) -> Miniature:
    """Read what a miniature run left in its folder."""
    run = folder / "reports" / "latest" / "data" / "run.json"
    told = json.loads(run.read_text(encoding="utf-8")) if run.is_file() else {}
    return Miniature(exit_status=exit_status, output=output, run=told)


def _describe(sut: Sut) -> str:
    """Return the system's description with an absolute root."""
    text = sut.path.read_text(encoding="utf-8")
    text, roots = re.subn(r"(?m)^root = .*$", f"root = {json.dumps(str(sut.folder))}", text)
    assert roots == 1, f"{sut.path}: got {roots} lines of root, expected one"
    return text
