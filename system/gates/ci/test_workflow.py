"""Gate ci: the workflow runs on a clean machine, and its commands work."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from gateproof import BringUp, FileProbe, Sut, claim, criterion, falsified_by, file

from .checkout import NewRepository
from .job import LIMIT_S, JobRun, NewJob
from .readme import documented
from .runner import Runner
from .workflow import ALWAYS, GATES_STEP, UPLOAD, WORKFLOW, Job, Step, Workflow, gates_workflow

CHECKOUT, PYTHON = "actions/checkout", "actions/setup-python"
TO_SUMMARY = ' >> "$GITHUB_STEP_SUMMARY"'
KEY_VARIABLES = frozenset({"GATEPROOF_SIGNING_KEY", "GATEPROOF_SIGNING_KEY_PASSPHRASE"})
REFUSED_IN_NAMES = frozenset('":<>|*?\\\r\n')
"""Characters that the artifact store refuses in file names."""
RUNS_WHEN_RED = rf"^({'|'.join(map(re.escape, sorted(ALWAYS)))})$"
"""A pattern of the conditions under which a step runs although an earlier one failed."""

BROKER_CHECK = "test_worker_has_no_client_of_another_broker"
"""The name of the single check that an inner run selects."""

EVERY_CHANGE = {"push": {"branches": ["main"]}, "pull_request": {}}
"""The events after which the gates must run, with the only filters that they may have."""

UPLOAD_STEP = """\
      - name: keep the evidence
        if: always()
        uses: actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1
        with:
          path: evidence.tar.gz
          archive: false
          if-no-files-found: error
          retention-days: 30
"""

NewRunner = Callable[[str], Runner]


@criterion("CI-01", needs=("migrations", "worker.report", "logs"), limit_s=LIMIT_S)
@falsified_by(
    file("keep-no-evidence", WORKFLOW, UPLOAD_STEP, ""),
    expect=("uploads after the command", "gates/make gates", "got 0"),
)
@falsified_by(
    file(
        "keep-green-evidence-only",
        WORKFLOW,
        "      - name: keep the evidence\n        if: always()\n",
        "      - name: keep the evidence\n",
    ),
    expect=("condition of the upload", "gates"),
)
@falsified_by(
    file(
        "provision-by-a-step",
        WORKFLOW,
        GATES_STEP,
        f"      - run: sudo apt-get install --yes postgresql redis-server\n{GATES_STEP}",
    ),
    expect=("steps that provision before the command", "gates/make gates", "apt-get install"),
)
@falsified_by(
    file(
        "upload-a-folder-with-a-link-in-it",
        WORKFLOW,
        "          path: evidence.tar.gz\n          archive: false\n",
        "          path: reports/\n",
    ),
    expect=("path of the upload", "gates", "got reports/"),
)
@falsified_by(
    file(
        "follow-the-link-to-the-bundle",
        WORKFLOW,
        "tar -czf evidence.tar.gz reports/",
        "tar -chzf evidence.tar.gz reports/",
    ),
    expect=("bundles in the artifact", "evidence.tar.gz", "got 2"),
)
@falsified_by(
    file("judge-documentation-only", WORKFLOW, "    branches: [main]\n", "    paths: [docs/**]\n"),
    expect=("filters that leave out changes", "push", "docs/**"),
)
@falsified_by(
    file(
        "forgive-a-red",
        WORKFLOW,
        GATES_STEP,
        f"{GATES_STEP}        continue-on-error: true\n",
    ),
    expect=("continue-on-error of the step", "gates/make gates", "got true"),
)
def test_workflow_judges_on_a_clean_machine_and_keeps_red_evidence(
    files: FileProbe, new_runner: NewRunner, bring_up: BringUp, sut: Sut
) -> None:
    """The job runs the README's gates command, provisions only PostgreSQL, and always uploads."""
    commands, workflow = documented(files), gates_workflow(files)
    place = judge_workflow(workflow, commands[0]) if workflow and commands else None
    if place is None:
        return  # a run of the gates takes long
    runner = new_runner("judge")
    runner.judge(place.command, "--environment", bring_up.report().kind, "-k", BROKER_CHECK)
    run = runner.sealed_run()
    if not claim("sealed bundles", on=place.command, got=int(bool(run)), expected=1):
        return
    judge_provisioned(runner.sealed_observations(), sut)
    # A worker without clients of other brokers.
    outcomes = {verdict["id"]: verdict["outcome"] for verdict in run["criteria"]}
    claim("outcome in the bundle", on="BRK-03", got=outcomes.get("BRK-03"), expected="pass")
    judge_uploadable(runner, place)


@criterion("CI-02", limit_s=LIMIT_S)
@falsified_by(
    file(
        "verify-in-ci-as-nobody-else-does",
        WORKFLOW,
        ".venv/bin/gateproof verify received/reports/latest",
        ".venv/bin/python -m gateproof_evidence verify received/reports/latest",
    ),
    expect=(
        "commands that the README lacks",
        WORKFLOW,
        "got .venv/bin/python -m gateproof_evidence",
    ),
)
@falsified_by(
    file(
        "misspell-an-option-in-the-makefile",
        "Makefile",
        "--evidence-out $(EVIDENCE) $(GATES_ARGS)",
        "--evidence-output $(EVIDENCE) $(GATES_ARGS)",
    ),
    expect=("failed commands of the job", "gates", "got make gates"),
)
def test_commands_of_the_workflow_are_the_readme_s_and_work(
    files: FileProbe, new_repository: NewRepository, new_job: NewJob
) -> None:
    """Each command is in the README, and every job passes, with the artifact in between."""
    known, workflow = documented(files), gates_workflow(files)
    if not (known and workflow and judge_documented(workflow, known)):
        return  # the jobs take long
    repository, artifact = new_repository(few=True), None
    for job in workflow.jobs:
        done = new_job(repository.check_out(), artifact).run(job)
        if not judge_works(job, done):
            return  # the next job needs its artifact
        artifact = done.artifact


def judge_documented(workflow: Workflow, known: tuple[str, ...]) -> bool:
    """Judge that the README has every command of the workflow, and this that of the gates."""
    lines = [line.removesuffix(TO_SUMMARY) for line in _commands(workflow)]
    unknown = [line for line in lines if line not in known]
    return claim(
        "commands of the workflow", on=WORKFLOW, got=lines, relation="contains", expected=known[0]
    ) and claim("commands that the README lacks", on=WORKFLOW, got=unknown, expected=[], over=lines)


def _commands(workflow: Workflow) -> Iterator[str]:
    """Yield the command lines of all jobs, without those that write the signing key."""
    for job in workflow.jobs:
        for step in job.steps:
            if not step.writes_key:
                yield from step.run.splitlines()


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of the gates command in the workflow, and the upload after it."""

    job: Job
    command: str
    position: int
    """The index of the step that runs it."""
    path: str = ""
    """The file that is uploaded."""

    @property
    def step(self) -> Step:
        """The step that runs the command."""
        return self.job.steps[self.position]

    @property
    def name(self) -> str:
        """The object of claims about the step."""
        return f"{self.job.name}/{self.command}"


def judge_workflow(workflow: Workflow, command: str) -> Place | None:
    """Judge the text of the workflow; return the place of the gates command if all is well."""
    triggered = judge_triggers(workflow)
    places = [
        Place(job=job, command=command, position=position)
        for job in workflow.jobs
        if (position := job.position(command)) is not None
    ]
    if not claim("jobs that run the command", on=command, got=len(places), expected=1):
        return None
    [place] = places
    judged = (judge_clean(place), judge_failure_fails_job(place), judge_upload(place))
    if not (triggered and all(judged)):
        return None
    return replace(place, path=str(_uploads(place)[0].inputs["path"]).strip())


def judge_triggers(workflow: Workflow) -> bool:
    """Judge that every change is judged: no path and no branch of it is left out."""
    held = []
    for event, allowed in EVERY_CHANGE.items():
        filters = dict(workflow.triggers.get(event, {}))
        events = list(workflow.triggers)
        held += [
            claim(
                "events of the workflow", on=event, got=events, relation="contains", expected=event
            ),
            claim(
                "filters that leave out changes",
                on=event,
                got={} if filters == allowed else filters,
                expected={},
            ),
        ]
    return all(held)


def judge_clean(place: Place) -> bool:
    """Judge that only the run itself provisions anything, on a fresh, hosted machine."""
    job = place.job
    services = [image for image in job.services if not image.startswith("postgres:")]
    steps = [step for step in job.steps[: place.position] if not step.writes_key]
    before = [step.action or step.run for step in steps]
    provision = [one for one in before if one not in (CHECKOUT, PYTHON)]
    return all(
        (
            claim(
                "machine of the job",
                on=job.name,
                got=job.machine,
                relation="matches",
                expected="^ubuntu-",
            ),
            claim("container of the job", on=job.name, got=job.container, expected=False),
            claim("services but PostgreSQL", on=job.name, got=services, expected=[]),
            claim(
                "steps that provision before the command",
                on=place.name,
                got=provision,
                expected=[],
            ),
        )
    )


def judge_failure_fails_job(place: Place) -> bool:
    """Judge that the command runs unchanged, and that the job fails when it fails.

    No variable but those of the signing key is set: it could change what the command runs.
    """
    job, step = place.job, place.step
    variables = (set(job.variables) | set(step.variables)) - KEY_VARIABLES
    return all(
        (
            claim("condition of the job", on=job.name, got=job.condition, expected=""),
            claim("condition of the step", on=place.name, got=step.condition, expected=""),
            claim("continue-on-error of the job", on=job.name, got=job.forgiven, expected=False),
            claim(
                "continue-on-error of the step", on=place.name, got=step.forgiven, expected=False
            ),
            claim("variables but the key", on=place.name, got=variables, expected=[]),
        )
    )


def judge_upload(place: Place) -> bool:
    """Judge that one file is uploaded after the command, whether it passed or failed.

    It is one file as it is: an upload of a folder follows links, and refuses some names.
    """
    uploads, on = _uploads(place), place.job.name
    if not claim("uploads after the command", on=place.name, got=len(uploads), expected=1):
        return False
    [upload] = uploads
    path, archive = str(upload.inputs.get("path", "")).strip(), upload.inputs.get("archive")
    missing, condition = upload.inputs.get("if-no-files-found"), upload.condition
    return all(
        (
            claim("path of the upload", on=on, got=path, relation="matches", expected=r"[^/]\Z"),
            claim("archive of the upload", on=on, got=archive, expected=False),
            claim(
                "condition of the upload",
                on=on,
                got=condition,
                relation="matches",
                expected=RUNS_WHEN_RED,
            ),
            claim("upload without files", on=on, got=missing, expected="error"),
        )
    )


def judge_provisioned(observations: list[dict[str, Any]], sut: Sut) -> None:
    """Judge that the bundle records PostgreSQL, roles, migrations, a worker, and nothing else."""
    on, own = "bring-up", [one for one in observations if one["part"] == "bring-up"]
    provisioned = [one["data"]["provisioned"] for one in own if one["probe"] == "environment"]
    kinds = [name.split()[0] for name in provisioned]
    claim("kinds of what is provisioned", on=on, got=kinds, expected=["PostgreSQL", "roles"])
    upgrade = sut.fill(sut.migrations.up, revision=sut.migrations.all)[1:]
    commands = [one["data"] for one in own if one["probe"] == "process"]
    migrated = [one["exit_status"] for one in commands if one["command"][1:] == upgrade]
    claim("exit statuses of the migrations", on=on, got=migrated, expected=[0])
    claim("commands that are run", on=on, got=len(commands), expected=1)
    answers = [one["data"]["answered"] for one in own if one["probe"] == "tasks"]
    states = {answer.get("state") for answer in answers}
    claim("states of the worker's ping", on=on, got=states, relation="contains", expected="SUCCESS")


def judge_uploadable(runner: Runner, place: Place) -> None:
    """Judge that the artifact has the bundle once, and names that every store accepts."""
    for step in place.job.steps[place.position + 1 :]:
        if step.run and step.runs_when_red:
            runner.run(step.run)
    artifact = runner.workspace / place.path
    packed = [artifact.name] if artifact.is_file() else []
    if not claim("files that the steps pack", on=place.path, got=len(packed), expected=1):
        return
    with tarfile.open(artifact) as archive:
        names = [member.name for member in archive if not member.issym()]
    bundles = [name for name in names if name.endswith("/data/run.json")]
    refused = [name for name in names if REFUSED_IN_NAMES & set(name)]
    claim("bundles in the artifact", on=place.path, got=len(bundles), expected=1)
    claim("names that the store refuses", on=place.path, got=refused, expected=[], over=names)


def judge_works(job: Job, done: JobRun) -> bool:
    """Judge that a job passed, and that a job which writes a summary shows the gap table."""
    passed = claim("failed commands of the job", on=job.name, got=done.failed, expected=[])
    if not any(line.endswith(TO_SUMMARY) for line in job.commands):
        return passed
    tables = done.summary.count("| import |")
    return passed & claim(
        "gap tables in the summary", on=job.name, got=tables, relation="at_least", expected=1
    )


def _uploads(place: Place) -> list[Step]:
    """Return the steps after the command that upload a file."""
    return [step for step in place.job.steps[place.position + 1 :] if step.action == UPLOAD]
