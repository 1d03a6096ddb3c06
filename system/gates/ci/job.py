"""Runs a job of a workflow on this machine as a runner does: its steps as they stand, in order.

Shell, working folder, variables, conditions and ``continue-on-error`` are those of the workflow.
Actions are not run, except that an upload keeps a file and a download delivers it. A run of a fork
has no secrets: by default none is given. Leaves machines, matrices and the conditions of jobs to
the checks.

Source: workflow syntax for GitHub Actions; workflow commands for GitHub Actions (``GITHUB_ENV``).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gateproof import FileProbe, ProcessProbe, claim

from .checkout import HARNESS
from .workflow import DOWNLOAD, UPLOAD, Job, Step

SECRET = re.compile(r"\$\{\{\s*secrets\.(\w+)\s*(!= '')?\s*\}\}")
COMPARISON = re.compile(r"(?:\$\{\{\s*)?env\.(\w+) == '([^']*)'(?:\s*\}\})?")
FILES = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
"""Variables that name the files through which a step passes values on."""

STEP_DEADLINE_S, LIMIT_S = 240.0, 300.0
"""Limits on a busy machine: for one step, and for a check."""

SHOWN = 200
"""How many characters of the output of a failed step a message quotes."""

MACHINE = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    # A small runner without a container engine. A larger one does the same in several processes.
    "PYTEST_XDIST_AUTO_NUM_WORKERS": "0",
    "DOCKER_HOST": "tcp://127.0.0.1:1",
    # A job installs no package for the tests of the project; the interpreter of this run may have.
    "PYTEST_ADDOPTS": "-pno:hypothesispytest",
}


@dataclass(frozen=True)
class Ended:
    """The end of one step."""

    exit_status: int
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """The result of one job."""

    passed: bool
    failed: tuple[str, ...]
    """The commands that failed, each with its exit status and the start of its output."""
    output: str
    """The output of all steps."""
    summary: str
    artifact: Path | None
    """The file that was uploaded."""


@dataclass(kw_only=True)
class JobRunner:
    """One machine of a CI system."""

    machine: ProcessProbe
    files: FileProbe
    """Reads the files of the checkout."""
    checkout: Path
    """The working folder, in which the project is checked out; its harness is the one that runs."""
    temporary: Path
    """The folder for files of the runner itself."""
    received: Path | None = None
    """The artifact of the job before this one."""
    secrets: dict[str, str] = field(default_factory=dict)
    _added: dict[str, str] = field(default_factory=dict)
    _artifact: Path | None = None
    _varying: list[str] = field(default_factory=list)
    """Variables and conditions whose value depends on the event, which is not known here."""

    def run(self, job: Job) -> JobRun:
        """Run all steps of a job whose turn it is.

        Claims that no variable and no condition depends on the event: a variable has a fixed value
        or a secret, and a step has no condition, one on the steps before it, or one on a variable.
        The first step that does ends the job.
        """
        failed: list[str] = []
        output = ""
        for number, step in enumerate(job.steps):
            due = self._is_due(job, step, red=bool(failed))
            if self._varying:
                break
            if not due:
                continue
            done = self._step(job, step, number)
            output += done.output
            if done.exit_status != 0 and not step.forgiven:
                failed.append(_describe(step, done))
        claim("values that depend on the event", on=job.name, got=self._varying, expected=[])
        summary = self.temporary / "GITHUB_STEP_SUMMARY"
        return JobRun(
            passed=not failed,
            failed=tuple(failed),
            output=output,
            summary=summary.read_text(encoding="utf-8") if summary.is_file() else "",
            artifact=self._artifact,
        )

    def sealed_run(self) -> dict[str, Any]:
        """Return the ``run.json`` of the last run in the checkout; empty if it sealed no bundle."""
        text = self.files.read("reports/latest/data/run.json")
        return dict(json.loads(text)) if text else {}

    def _step(self, job: Job, step: Step, number: int) -> Ended:
        if step.action == UPLOAD:
            return self._upload(step)
        if step.action == DOWNLOAD:
            return self._download(step)
        if step.uses:
            return Ended(0)
        folder = self.checkout / step.folder
        if not folder.is_dir():
            return Ended(1, f"working-directory: got no folder {step.folder}\n")
        script = self.temporary / f"step-{number}"
        script.write_text(step.run, encoding="utf-8")
        done = self.machine.run(
            [word.replace("{0}", str(script)) for word in shlex.split(step.shell)],
            env=self._environment(job, step),
            folder=folder,
            deadline_s=STEP_DEADLINE_S,
        )
        self._added |= _assignments(self.temporary / "GITHUB_ENV")
        return Ended(done.exit_status, done.output)

    def _environment(self, job: Job, step: Step) -> dict[str, str]:
        files = {name: str(self.temporary / name) for name in FILES}
        declared = {**job.variables, **self._added, **step.variables}
        return {
            **MACHINE,
            **files,
            "GITHUB_WORKSPACE": str(self.checkout),
            "RUNNER_TEMP": str(self.temporary),
            "PATH": os.pathsep.join((*_lines(self.temporary / "GITHUB_PATH"), os.environ["PATH"])),
            "PYTHONPATH": os.pathsep.join(str(self.checkout / name) for name in HARNESS),
            **{name: self._value(name, value) for name, value in declared.items()},
        }

    def _value(self, name: str, text: str) -> str:
        value = SECRET.sub(self._secret, text)
        if "${{" in value:
            self._varying.append(f"variable {name}: {text}")
        return value

    def _secret(self, found: re.Match[str]) -> str:
        """Return the value of a secret, or whether there is one."""
        value = self.secrets.get(found[1], "")
        return ("true" if value else "false") if found[2] else value

    def _is_due(self, job: Job, step: Step, *, red: bool) -> bool:
        """Return whether a step runs after the steps before it."""
        if step.condition in ("", "success()"):
            return not red
        compared = COMPARISON.fullmatch(step.condition)
        if compared:
            return not red and self._environment(job, step).get(compared[1]) == compared[2]
        if not step.runs_when_red and step.condition != "failure()":
            self._varying.append(f"condition of {step.run or step.uses}: {step.condition}")
        return red or step.runs_when_red

    def _upload(self, step: Step) -> Ended:
        path = self.checkout / str(step.inputs.get("path", ""))
        if not path.is_file():
            return Ended(1, f"{path}: got no file to upload\n")
        self._artifact = path
        return Ended(0)

    def _download(self, step: Step) -> Ended:
        name, folder = str(step.inputs.get("name", "")), str(step.inputs.get("path", ""))
        if self.received is None or name != self.received.name:
            return Ended(1, f"artifact {name}: got none\n")
        (self.checkout / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.received, self.checkout / folder / name)
        return Ended(0)


class NewJob(Protocol):
    """Creates the runner of a job."""

    def __call__(self, checkout: Path, received: Path | None = None) -> JobRunner:
        """Create it in a checkout, with the artifact that it can download."""


def _assignments(path: Path) -> dict[str, str]:
    """Return the variables that steps have set for the steps after them."""
    return dict(line.split("=", 1) for line in _lines(path) if "=" in line)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _describe(step: Step, done: Ended) -> str:
    shown = " ".join(done.output.split())[:SHOWN] or "it printed nothing"
    return f"{step.run or step.uses}: exit {done.exit_status} ({shown})"
