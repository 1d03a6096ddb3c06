"""Runs of miniature gates: a gates folder of a few lines, in a separate pytest process.

How the harness reports a failure can only be checked from outside, in the bundle of a whole run.
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

from gateproof import NotApplicableError, ProcessProbe, Sut, premise

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
from gateproof import claim, criterion, premise
from gateproof import NotApplicableError

def observe(commands, sut):
    done = commands.run([sys.executable, "-c", "print('observed')"], env={}, folder=sut.folder)
    claim("exit status of the command", got=done.exit_status, expected=0)
"""
"""Imports, and an observation with a claim about it: a check without one shows nothing."""

SOUND = """
@criterion("MIN-01")
def test_sound(commands, sut):
    observe(commands, sut)
"""

WITHOUT_OTHER_PLUGINS = ("-pno:anyio", "-pno:hypothesispytest", "-pno:html", "-pno:metadata")
"""Leaves out plugins that no inner run uses: to import them takes a third of a short run's time."""

COMMAND = (
    *(sys.executable, "-m", "pytest", "gates", "-p", "no:cacheprovider", *WITHOUT_OTHER_PLUGINS),
    *("--evidence-out", "reports", "--sut", "sut.toml", "--environment", "embedded"),
)
"""Runs the miniature gates in the working folder."""

NO_PROOFS = ("--falsify", "none")

_LEFT_OUT = re.compile(r"(?ms)^\[\[left_out\]\].*?(?=^\[|\Z)")
"""A decision to leave a criterion out, with its keys."""

RUN_DEADLINE_S, LIMIT_S = 120.0, 300.0
"""Limits on a busy machine: for one miniature run with its own PostgreSQL, and for a check."""


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """The result of a miniature run."""

    exit_status: int
    output: str
    run: dict[str, Any]
    """Its ``run.json``; empty if it sealed no bundle."""

    def verdict(self, identifier: str) -> dict[str, Any]:
        """Return the verdict on one criterion; empty if there is none."""
        for verdict in self.run.get("criteria", ()):
            if verdict["id"] == identifier:
                return dict(verdict)
        return {}

    def judged(self, identifier: str) -> tuple[str | None, str | None]:
        """Return the outcome and the cause of one criterion."""
        verdict = self.verdict(identifier)
        return verdict.get("outcome"), verdict.get("cause")

    def proven(self, identifier: str) -> dict[str, tuple[str, str]]:
        """Return the proof result and its message for each falsifier of one criterion."""
        proofs = self.verdict(identifier).get("proofs", ())
        return {proof["falsifier"]: (proof["result"], proof["message"]) for proof in proofs}


@dataclass(frozen=True, kw_only=True)
class MiniatureRunner:
    """Writes miniature gates and runs them with the judged harness."""

    machine: ProcessProbe
    """Runs pytest."""
    sut: Sut
    """The system under test, for checks that need it."""
    harness: tuple[Path, ...]
    """The folders from which the harness is imported."""
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
        waivers: str = "",
    ) -> Miniature:
        """Write a gates folder and run it.

        Args:
            checks: source code of the checks, added after `HEADER`.
            ids: the criterion ids of its catalogue.
            arguments: further arguments of pytest.
            path: further folders for PYTHONPATH, after those of the harness.
            env: further environment variables of the run.
            conftest: source code of a conftest.py.
            waivers: content of its waivers.toml.

        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        write_miniature(self.sut, folder, checks=checks, ids=ids)
        for name, content in (("conftest.py", conftest), ("waivers.toml", waivers)):
            if content:
                (folder / "gates" / name).write_text(content, encoding="utf-8")
        search_path = os.pathsep.join(map(str, (*self.harness, *path)))
        done = self.machine.run(
            [*COMMAND, *arguments],
            env={"PYTHONPATH": search_path, **(env or {})},
            folder=folder,
            deadline_s=RUN_DEADLINE_S,
        )
        return read_miniature(folder, exit_status=done.exit_status, output=done.output)


def write_miniature(sut: Sut, folder: Path, *, checks: str, ids: tuple[str, ...]) -> None:
    """Write the gates, the catalogue and the description for `COMMAND` into a folder."""
    gates = folder / "gates"
    gates.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    catalogue = "".join(CRITERION.format(id=one) for one in ids)
    (gates / "criteria.toml").write_text(catalogue, encoding="utf-8")
    (gates / "test_miniature.py").write_text(HEADER + checks, encoding="utf-8")
    (folder / "sut.toml").write_text(_describe(sut), encoding="utf-8")


def source_of(sut: Sut) -> str:
    """Return the path of a Python file among the system's sources, for faults that change one."""
    for source in sut.sources:
        top = sut.folder / source
        for path in [top] if top.is_file() else sorted(top.rglob("*.py")):
            if path.suffix == ".py":
                return path.relative_to(sut.folder).as_posix()
    raise NotApplicableError(
        f"{sut.path.name}: sources: got no Python file, expected one to change"
    )


def read_miniature(folder: Path, *, exit_status: int, output: str) -> Miniature:
    """Read the result of a miniature run from its folder."""
    run = folder / "reports" / "latest" / "data" / "run.json"
    content = json.loads(run.read_text(encoding="utf-8")) if run.is_file() else {}
    return Miniature(exit_status=exit_status, output=output, run=content)


def _describe(sut: Sut) -> str:
    """Return the description of the system with an absolute root, without criteria left out.

    The catalogue of a miniature does not have these criteria, and an unknown one is refused.
    """
    text = _LEFT_OUT.sub("", sut.path.read_text(encoding="utf-8"))
    text, roots = re.subn(r"(?m)^root = .*$", f"root = {json.dumps(str(sut.folder))}", text)
    premise("lines of root in the description", got=roots, expected=1)
    return text
