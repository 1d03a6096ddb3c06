"""A CI runner on this machine: runs the commands of a workflow as the workflow defines them.

It differs from a real runner only as follows. ``make`` runs in the project's folder with the
interpreter of this run, so that nothing is installed. The gates command gets a folder for its
evidence and a selection: one check of a gate other than ci and taxonomy, and no proofs; otherwise a
run of the gates would start itself again. Every other line runs unchanged in the shell that runners
use. All commands import the judged harness: in a proof on the harness the copy, otherwise the
project's own.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateproof import Completed, FileProbe, ProcessProbe, Recorder

LEAN = ("-p", "no:cacheprovider", "-pno:hypothesispytest")
"""Leaves out what slows a run and is not part of its evidence."""
REPORTS, SUMMARY = "reports", "summary.md"
RUN_DEADLINE_S = 240.0
"""Deadline for one run of the gates on a busy machine, including the bring-up."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """The machine of one job."""

    machine: ProcessProbe
    files: FileProbe
    """Reads the files in the workspace of the job."""
    project: Path
    harness: tuple[Path, ...]
    """The folders from which the harness is imported."""
    workspace: Path

    @classmethod
    def prepare(
        cls,
        machine: ProcessProbe,
        recorder: Recorder,
        *,
        project: Path,
        harness: tuple[Path, ...],
        workspace: Path,
    ) -> Runner:
        """Turn an empty folder into a workspace with the interpreter of this run as ``.venv``."""
        (workspace / ".venv").symlink_to(sys.prefix)
        files = FileProbe(recorder, workspace)
        return cls(
            machine=machine, files=files, project=project, harness=harness, workspace=workspace
        )

    def judge(self, command: str, *arguments: str) -> Completed:
        """Run the gates command with further pytest arguments; the bundle goes to the workspace."""
        # PYTHONPATH alone would come after the paths in the project's own configuration.
        harness = ("-o", f"pythonpath={shlex.join(map(str, self.harness))} .")
        pytest_arguments = shlex.join((*harness, "--falsify=none", *LEAN, *arguments))
        return self.make(
            command, f"EVIDENCE={self.workspace / REPORTS}", f"GATES_ARGS={pytest_arguments}"
        )

    def make(self, command: str, *overrides: str) -> Completed:
        """Run a ``make`` command in the project's folder."""
        venv = (f"VENV={sys.prefix}", "SETUP=", "DEV_SETUP=")
        return self.machine.run(
            [*shlex.split(command), *venv, *overrides],
            env=self._environment,
            folder=self.project,
            deadline_s=RUN_DEADLINE_S,
        )

    def run(self, command: str) -> Completed:
        """Run any other command in the workspace."""
        env = {**self._environment, "GITHUB_STEP_SUMMARY": str(self.workspace / SUMMARY)}
        return self.machine.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
            env=env,
            folder=self.workspace,
        )

    @property
    def _environment(self) -> dict[str, str]:
        """Variables with which commands import the judged harness, not the installed one."""
        return {"PYTHONPATH": os.pathsep.join(map(str, self.harness))}

    def sealed_run(self) -> dict[str, Any]:
        """Return ``run.json`` of the last run; empty if it sealed no bundle."""
        text = self.files.read(f"{REPORTS}/latest/data/run.json")
        return dict(json.loads(text)) if text else {}

    def sealed_observations(self) -> list[dict[str, Any]]:
        """Return the observations in the journal of the last run."""
        text = self.files.read(f"{REPORTS}/latest/data/journal.jsonl") or ""
        records = [json.loads(line) for line in text.splitlines()]
        return [record for record in records if record["kind"] == "observation"]

    def sealed_files(self) -> tuple[str, ...]:
        """Return the names in the manifest of the last run."""
        text = self.files.read(f"{REPORTS}/latest/manifest-sha256.txt") or ""
        return tuple(line.split("  ", 1)[1] for line in text.splitlines())
