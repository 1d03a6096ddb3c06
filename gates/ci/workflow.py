"""A GitHub workflow as far as the gate judges it: jobs, steps, conditions, services.

Read as YAML 1.2, in which ``on`` is a name, and a key given twice is refused. Leaves the rules of
the format to its published schema (``make workflows``), and judging to the checks.

Source: workflow syntax for GitHub Actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

ALWAYS = frozenset({"always()", "${{ always() }}", "!cancelled()", "${{ !cancelled() }}"})
"""Conditions under which a step runs though one before it was red."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a job."""

    uses: str
    """The action, with its pin; empty for a step that runs a command."""
    run: str
    """The command; empty for a step that uses an action."""
    condition: str
    inputs: dict[str, Any]
    variables: frozenset[str]
    """Names of what it adds to the environment."""
    forgiven: bool
    """Whether a red step leaves the job green."""

    @property
    def action(self) -> str:
        """The action without its pin."""
        return self.uses.partition("@")[0]

    @property
    def runs_when_red(self) -> bool:
        """Whether it runs after a red step."""
        return self.condition in ALWAYS


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job: a machine of its own and the steps on it."""

    name: str
    machine: str
    services: tuple[str, ...]
    """Images that the CI system would start beside the job."""
    container: bool
    """Whether its steps run in a container instead of on the machine."""
    condition: str
    variables: frozenset[str]
    """Names of what it or the workflow adds to the environment of its steps."""
    forgiven: bool
    """Whether a red job leaves the workflow green."""
    steps: tuple[Step, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """Its command lines, in order."""
        return tuple(line for step in self.steps for line in step.run.splitlines())

    def position(self, command: str) -> int | None:
        """Return where a command is run, exactly as given; None where it is not."""
        places = (n for n, step in enumerate(self.steps) if step.run == command)
        return next(places, None)

    def uses(self, action: str) -> bool:
        """Tell whether a step uses an action, whatever its pin."""
        return any(step.action == action for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """What a workflow file says."""

    triggers: frozenset[str]
    jobs: tuple[Job, ...]
    """In the order of the file."""

    @property
    def commands(self) -> tuple[str, ...]:
        """The command lines of all jobs, in order."""
        return tuple(line for job in self.jobs for line in job.commands)


def read_workflow(text: str) -> Workflow:
    """Return what a workflow says.

    Raises:
        ruamel.yaml.error.YAMLError: the text is no YAML.

    """
    told = YAML(typ="safe", pure=True).load(text)
    variables = frozenset(told.get("env") or {})
    jobs = tuple(_job(name, job, variables) for name, job in told["jobs"].items())
    return Workflow(triggers=frozenset(told["on"]), jobs=jobs)


def _job(name: str, told: dict[str, Any], around: frozenset[str]) -> Job:
    services = (told.get("services") or {}).values()
    return Job(
        name=name,
        machine=str(told.get("runs-on", "")),
        services=tuple(str(service.get("image", "")) for service in services),
        container="container" in told,
        condition=str(told.get("if", "")).strip(),
        variables=around | frozenset(told.get("env") or {}),
        forgiven=bool(told.get("continue-on-error")),
        steps=tuple(_step(step) for step in told.get("steps", ())),
    )


def _step(told: dict[str, Any]) -> Step:
    return Step(
        uses=str(told.get("uses", "")),
        run=str(told.get("run", "")).strip(),
        condition=str(told.get("if", "")).strip(),
        inputs=dict(told.get("with") or {}),
        variables=frozenset(told.get("env") or {}),
        forgiven=bool(told.get("continue-on-error")),
    )
