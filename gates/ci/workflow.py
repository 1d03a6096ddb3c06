"""Parses the parts of a GitHub workflow that the gate judges: jobs, steps, conditions, services.

The file is read as YAML 1.2, in which ``on`` is a string and duplicate keys are refused. Leaves the
rules of the format to its published schema (``make workflows``), and judging to the checks.

Source: workflow syntax for GitHub Actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

ALWAYS = frozenset({"always()", "${{ always() }}", "!cancelled()", "${{ !cancelled() }}"})
"""Conditions under which a step runs although an earlier step failed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a job."""

    uses: str
    """The action with its pinned version; empty for a step that runs a command."""
    run: str
    """The command; empty for a step that uses an action."""
    condition: str
    inputs: dict[str, Any]
    variables: frozenset[str]
    """Names of the environment variables that it adds."""
    forgiven: bool
    """Whether the job passes although the step fails."""

    @property
    def action(self) -> str:
        """The action without its pinned version."""
        return self.uses.partition("@")[0]

    @property
    def runs_when_red(self) -> bool:
        """Whether it runs after a failed step."""
        return self.condition in ALWAYS


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job: a machine and the steps on it."""

    name: str
    machine: str
    services: tuple[str, ...]
    """Images of the service containers that the CI system starts for the job."""
    container: bool
    """Whether its steps run in a container instead of directly on the machine."""
    condition: str
    variables: frozenset[str]
    """Names of the environment variables that the job or the workflow adds."""
    forgiven: bool
    """Whether the workflow passes although the job fails."""
    steps: tuple[Step, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """Its command lines, in order."""
        return tuple(line for step in self.steps for line in step.run.splitlines())

    def position(self, command: str) -> int | None:
        """Return the index of the step that runs exactly this command; None if there is none."""
        positions = (n for n, step in enumerate(self.steps) if step.run == command)
        return next(positions, None)

    def uses(self, action: str) -> bool:
        """Return whether a step uses an action, in any version."""
        return any(step.action == action for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """The content of a workflow file."""

    triggers: frozenset[str]
    jobs: tuple[Job, ...]
    """In the order of the file."""

    @property
    def commands(self) -> tuple[str, ...]:
        """The command lines of all jobs, in order."""
        return tuple(line for job in self.jobs for line in job.commands)


def read_workflow(text: str) -> Workflow:
    """Parse the text of a workflow.

    Raises:
        ruamel.yaml.error.YAMLError: the text is not valid YAML.

    """
    content = YAML(typ="safe", pure=True).load(text)
    variables = frozenset(content.get("env") or {})
    jobs = tuple(_job(name, job, variables) for name, job in content["jobs"].items())
    return Workflow(triggers=frozenset(content["on"]), jobs=jobs)


def _job(name: str, fields: dict[str, Any], inherited: frozenset[str]) -> Job:
    services = (fields.get("services") or {}).values()
    return Job(
        name=name,
        machine=str(fields.get("runs-on", "")),
        services=tuple(str(service.get("image", "")) for service in services),
        container="container" in fields,
        condition=str(fields.get("if", "")).strip(),
        variables=inherited | frozenset(fields.get("env") or {}),
        forgiven=bool(fields.get("continue-on-error")),
        steps=tuple(_step(step) for step in fields.get("steps", ())),
    )


def _step(fields: dict[str, Any]) -> Step:
    return Step(
        uses=str(fields.get("uses", "")),
        run=str(fields.get("run", "")).strip(),
        condition=str(fields.get("if", "")).strip(),
        inputs=dict(fields.get("with") or {}),
        variables=frozenset(fields.get("env") or {}),
        forgiven=bool(fields.get("continue-on-error")),
    )
