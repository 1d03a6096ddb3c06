"""Parses the parts of a GitHub workflow that the gate judges: jobs, steps, conditions, services.

The file is read as YAML 1.2, in which ``on`` is a string and duplicate keys are refused. Leaves the
rules of the format to its published schema (``make workflows``), running it to `.job`, and judging
to the checks.

Source: workflow syntax for GitHub Actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gateproof import FileProbe, claim

WORKFLOW = ".github/workflows/gates.yml"
GATES_STEP = "      - run: make gates\n"
UPLOAD, DOWNLOAD = "actions/upload-artifact", "actions/download-artifact"

KEY_COMMANDS = frozenset({"if", "umask", "printf", "echo", "fi"})
"""The commands of a step that writes the signing key into a file."""

ALWAYS = frozenset({"always()", "${{ always() }}", "!cancelled()", "${{ !cancelled() }}"})
"""Conditions under which a step runs although an earlier step failed."""

SHELLS = {
    "": "bash -e {0}",
    "bash": "bash --noprofile --norc -eo pipefail {0}",
    "sh": "sh -e {0}",
    "python": "python {0}",
}
"""How runners on Linux start a shell; ``{0}`` is the script. Any other shell is such a line itself.

The shell of a step that names none has no pipefail.
"""

Fields = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a job."""

    uses: str
    """The action with its pinned version; empty for a step that runs a command."""
    run: str
    """The command; empty for a step that uses an action."""
    condition: str
    inputs: dict[str, Any]
    variables: dict[str, str]
    """The environment variables that it adds."""
    shell: str
    """The line that starts its shell, by `SHELLS`."""
    folder: str
    """Its working folder, relative to the checkout; empty for the checkout itself."""
    forgiven: bool
    """Whether the job passes although the step fails."""

    @property
    def action(self) -> str:
        """The action without its pinned version."""
        return self.uses.partition("@")[0]

    @property
    def writes_key(self) -> bool:
        """Whether it only writes the signing key from a secret into a file."""
        words = {line.split()[0] for line in self.run.splitlines() if line.strip()}
        from_secrets = all("secrets." in value for value in self.variables.values())
        return bool(words and self.variables) and from_secrets and words <= KEY_COMMANDS

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
    needs: tuple[str, ...]
    """Names of the jobs without which it is skipped."""
    matrix: bool
    """Whether it runs once for each member of a matrix, or never for an empty one."""
    variables: dict[str, str]
    """The environment variables that the job or the workflow adds."""
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

    def mentions(self, command: str) -> bool:
        """Return whether a step runs this command, alone or with anything around it."""
        return any(command in step.run for step in self.steps)

    def uses(self, action: str) -> bool:
        """Return whether a step uses an action, in any version."""
        return any(step.action == action for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """The content of a workflow file."""

    triggers: dict[str, Fields]
    """Each event that starts it, with the event's filters."""
    jobs: tuple[Job, ...]
    """In the order of the file."""

    def job_that_uses(self, action: str) -> Job | None:
        """Claim that one job has a step that uses an action; return it, or None."""
        found = [job for job in self.jobs if job.uses(action)]
        only = claim("jobs that use the action", on=action, got=len(found), expected=1)
        return found[0] if only else None

    def job_that_mentions(self, command: str) -> Job | None:
        """Claim that one job has a step that runs a command; return it, or None.

        There may be anything around the command.
        """
        found = [job for job in self.jobs if job.mentions(command)]
        only = claim("jobs that run the command", on=command, got=len(found), expected=1)
        return found[0] if only else None


def gates_workflow(files: FileProbe) -> Workflow | None:
    """Claim that the workflow of the gates is valid YAML; return it, or None."""
    text = files.read(WORKFLOW)
    found, state = None, "no such file"
    if text is not None:
        try:
            found, state = read_workflow(text), "valid YAML"
        except YAMLError as error:
            state = " ".join(str(error).split())
    claim("syntax of the workflow", on=WORKFLOW, got=state, expected="valid YAML")
    return found


def read_workflow(text: str) -> Workflow:
    """Parse the text of a workflow.

    Raises:
        ruamel.yaml.error.YAMLError: the text is not valid YAML.

    """
    content = YAML(typ="safe", pure=True).load(text)
    jobs = tuple(_job(name, job, content) for name, job in content["jobs"].items())
    return Workflow(triggers=_triggers(content["on"]), jobs=jobs)


def _triggers(value: Any) -> dict[str, Fields]:
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, list):
        return {str(name): {} for name in value}
    return {name: filters or {} for name, filters in value.items()}


def _job(name: str, fields: Fields, workflow: Fields) -> Job:
    services = (fields.get("services") or {}).values()
    needs = fields.get("needs") or ()
    return Job(
        name=name,
        machine=str(fields.get("runs-on", "")),
        services=tuple(str(service.get("image", "")) for service in services),
        container="container" in fields,
        condition=str(fields.get("if", "")).strip(),
        needs=(needs,) if isinstance(needs, str) else tuple(needs),
        matrix="strategy" in fields,
        variables={**_variables(workflow), **_variables(fields)},
        forgiven=bool(fields.get("continue-on-error")),
        steps=tuple(
            _step(step, {**_run_defaults(workflow), **_run_defaults(fields)})
            for step in fields.get("steps", ())
        ),
    )


def _step(fields: Fields, defaults: Fields) -> Step:
    shell = str(fields.get("shell", defaults.get("shell", "")))
    return Step(
        uses=str(fields.get("uses", "")),
        run=str(fields.get("run", "")).strip(),
        condition=str(fields.get("if", "")).strip(),
        inputs=dict(fields.get("with") or {}),
        variables=_variables(fields),
        shell=SHELLS.get(shell, shell),
        folder=str(fields.get("working-directory", defaults.get("working-directory", ""))),
        forgiven=bool(fields.get("continue-on-error")),
    )


def _variables(fields: Fields) -> dict[str, str]:
    return {str(name): _text(value) for name, value in (fields.get("env") or {}).items()}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _run_defaults(fields: Fields) -> Fields:
    return dict((fields.get("defaults") or {}).get("run") or {})
