"""Gate ci: the workflow runs on a clean machine, and its commands work."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import Any

from gateproof import BringUp, FileProbe, Sut, criterion, falsified_by, file

from .checkout import NewRepository
from .job import LIMIT_S, JobRun, NewJob
from .readme import README, documented
from .runner import Runner
from .workflow import GATES_STEP, UPLOAD, WORKFLOW, Job, Step, Workflow, gates_workflow

CHECKOUT, PYTHON = "actions/checkout", "actions/setup-python"
TO_SUMMARY = ' >> "$GITHUB_STEP_SUMMARY"'
KEY_VARIABLES = frozenset({"GATEPROOF_SIGNING_KEY", "GATEPROOF_SIGNING_KEY_PASSPHRASE"})
REFUSED_IN_NAMES = frozenset('":<>|*?\\\r\n')
"""Characters that the artifact store refuses in file names."""

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
    expect="got no actions/upload-artifact after 'make gates'",
)
@falsified_by(
    file(
        "keep-green-evidence-only",
        WORKFLOW,
        "      - name: keep the evidence\n        if: always()\n",
        "      - name: keep the evidence\n",
    ),
    expect="upload got condition ''",
)
@falsified_by(
    file(
        "provision-by-a-step",
        WORKFLOW,
        GATES_STEP,
        f"      - run: sudo apt-get install --yes postgresql redis-server\n{GATES_STEP}",
    ),
    expect="steps before 'make gates' got",
)
@falsified_by(
    file(
        "upload-a-folder-with-a-link-in-it",
        WORKFLOW,
        "          path: evidence.tar.gz\n          archive: false\n",
        "          path: reports/\n",
    ),
    expect="uploads got path 'reports/'",
)
@falsified_by(
    file(
        "follow-the-link-to-the-bundle",
        WORKFLOW,
        "tar -czf evidence.tar.gz reports/",
        "tar -chzf evidence.tar.gz reports/",
    ),
    expect="bundles in the artifact: got 2",
)
@falsified_by(
    file("judge-documentation-only", WORKFLOW, "    branches: [main]\n", "    paths: [docs/**]\n"),
    expect="got push with {'paths': ['docs/**']}",
)
@falsified_by(
    file(
        "forgive-a-red",
        WORKFLOW,
        GATES_STEP,
        f"{GATES_STEP}        continue-on-error: true\n",
    ),
    expect="'make gates' got continue-on-error",
)
def test_workflow_judges_on_a_clean_machine_and_keeps_red_evidence(
    files: FileProbe, new_runner: NewRunner, bring_up: BringUp, sut: Sut
) -> None:
    """The job runs the README's gates command, provisions only PostgreSQL, and always uploads."""
    command = documented(files)[0]
    workflow = gates_workflow(files)
    _assert_triggers(workflow)
    jobs = [job for job in workflow.jobs if job.position(command) is not None]
    assert len(jobs) == 1, f"jobs that run {command!r}: got {len(jobs)}, expected one"
    _assert_clean(jobs[0], command)
    _assert_failure_fails_job(jobs[0], command)
    upload = _assert_uploads(jobs[0], command)
    runner = new_runner("judge")
    done = runner.judge(command, "--environment", bring_up.report().kind, "-k", BROKER_CHECK)
    run = runner.sealed_run()
    assert run, f"{command}: got exit {done.exit_status} and no bundle, expected a sealed one"
    _assert_provisioned(runner.sealed_observations(), sut)
    outcome = {verdict["id"]: verdict["outcome"] for verdict in run["criteria"]}["BRK-03"]
    assert outcome == "pass", (
        f"other brokers in the bundle: got {outcome} for BRK-03, expected a worker without them"
    )
    _assert_uploadable(runner, jobs[0], command, str(upload.inputs["path"]))


@criterion("CI-02", limit_s=LIMIT_S)
@falsified_by(
    file(
        "verify-in-ci-as-nobody-else-does",
        WORKFLOW,
        ".venv/bin/gateproof verify received/reports/latest",
        ".venv/bin/python -m gateproof_evidence verify received/reports/latest",
    ),
    expect="that README.md does not have: got ['.venv/bin/python -m gateproof_evidence",
)
@falsified_by(
    file(
        "misspell-an-option-in-the-makefile",
        "Makefile",
        "--evidence-out $(EVIDENCE) $(GATES_ARGS)",
        "--evidence-output $(EVIDENCE) $(GATES_ARGS)",
    ),
    expect="job gates: got failures ['make gates",
)
def test_commands_of_the_workflow_are_the_readme_s_and_work(
    files: FileProbe, new_repository: NewRepository, new_job: NewJob
) -> None:
    """Each command is in the README, and every job passes, with the artifact in between."""
    known, workflow = documented(files), gates_workflow(files)
    lines = [line.removesuffix(TO_SUMMARY) for line in _commands(workflow)]
    assert known[0] in lines, f"{WORKFLOW}: got {lines}, expected {known[0]!r} in it"
    unknown = [line for line in lines if line not in known]
    assert not unknown, f"commands of {WORKFLOW} that {README} does not have: got {unknown}"
    repository, artifact = new_repository(few=True), None
    for job in workflow.jobs:
        done = new_job(repository.check_out(), artifact).run(job)
        _assert_works(job, done)
        artifact = done.artifact


def _commands(workflow: Workflow) -> Iterator[str]:
    """Yield the command lines of all jobs, without those that write the signing key."""
    for job in workflow.jobs:
        for step in job.steps:
            if not step.writes_key:
                yield from step.run.splitlines()


def _assert_triggers(workflow: Workflow) -> None:
    """Assert that every change is judged: no path and no branch of it is left out."""
    for event, filters in EVERY_CHANGE.items():
        assert event in workflow.triggers, f"triggers of {WORKFLOW}: got no {event}, expected it"
        got = dict(workflow.triggers[event])
        assert got in ({}, filters), (
            f"triggers of {WORKFLOW}: got {event} with {got}, expected {filters}: every change"
        )


def _assert_clean(job: Job, command: str) -> None:
    """Assert that only the run itself provisions anything."""
    assert job.machine.startswith("ubuntu-"), (
        f"job {job.name}: machine got {job.machine!r}, expected a fresh, hosted ubuntu-..."
    )
    assert not job.container, f"job {job.name}: got a container, expected the machine itself"
    others = [image for image in job.services if not image.startswith("postgres:")]
    assert not others, f"job {job.name}: services got {others}, expected none but PostgreSQL"
    steps = job.steps[: job.position(command)]
    before = [step.action or step.run for step in steps if not step.writes_key]
    assert set(before) <= {CHECKOUT, PYTHON}, (
        f"job {job.name}: steps before {command!r} got {before}, expected checkout, Python and the "
        "signing key only"
    )


def _assert_failure_fails_job(job: Job, command: str) -> None:
    """Assert that the command runs unchanged, and that the job fails when it fails."""
    position = job.position(command)
    assert position is not None
    gates = job.steps[position]
    conditions = [job.condition, gates.condition]
    assert conditions == ["", ""], (
        f"job {job.name}: conditions of {command!r} got {conditions}, expected none"
    )
    assert [job.forgiven, gates.forgiven] == [False, False], (
        f"job {job.name}: {command!r} got continue-on-error, expected its failure to fail the job"
    )
    unexpected = (set(job.variables) | set(gates.variables)) - KEY_VARIABLES
    assert not unexpected, (
        f"job {job.name}: variables of {command!r} got {sorted(unexpected)}, expected none that "
        "could change what it runs"
    )


def _assert_uploads(job: Job, command: str) -> Step:
    """Assert that one file is uploaded after the command, whether it passed or failed."""
    position = job.position(command)
    assert position is not None
    uploads = [step for step in job.steps[position + 1 :] if step.action == UPLOAD]
    assert uploads, f"job {job.name}: got no {UPLOAD} after {command!r}, expected the bundle kept"
    upload, inputs = uploads[0], uploads[0].inputs
    assert len(uploads) == 1, f"job {job.name}: got {len(uploads)} uploads, expected one"
    path = str(inputs.get("path", "")).strip()
    is_file = bool(path) and not path.endswith("/") and inputs.get("archive") is False
    assert is_file, (
        f"job {job.name}: uploads got path {path!r} with archive {inputs.get('archive')}, expected "
        "one file as it is: an upload follows links, and refuses some names"
    )
    assert upload.runs_when_red, (
        f"job {job.name}: upload got condition {upload.condition!r}, expected always()"
    )
    missing = inputs.get("if-no-files-found")
    assert missing == "error", (
        f"job {job.name}: upload without files got {missing!r}, expected an error"
    )
    return upload


def _assert_provisioned(observations: list[dict[str, Any]], sut: Sut) -> None:
    """Assert that the bundle records PostgreSQL, roles, migrations, a worker, and nothing else."""
    own = [one for one in observations if one["part"] == "bring-up"]
    provisioned = [one["data"]["provisioned"] for one in own if one["probe"] == "environment"]
    assert [name.split()[0] for name in provisioned] == ["PostgreSQL", "roles"], (
        f"provisioned in the bundle: got {provisioned}, expected only PostgreSQL and roles"
    )
    upgrade = sut.fill(sut.migrations.up, revision=sut.migrations.all)[1:]
    commands = [one["data"] for one in own if one["probe"] == "process"]
    migrated = [one["exit_status"] for one in commands if one["command"][1:] == upgrade]
    assert migrated == [0], f"migrations in the bundle: got exits {migrated}, expected [0]"
    assert len(commands) == 1, (
        f"commands of the bring-up: got {[one['command'] for one in commands]}, expected one"
    )
    answers = [one["data"]["answered"] for one in own if one["probe"] == "tasks"]
    states = {answer.get("state") for answer in answers}
    assert "SUCCESS" in states, f"ping of the bring-up: got {states}, expected a worker's answer"


def _assert_uploadable(runner: Runner, job: Job, command: str, path: str) -> None:
    """Assert that the artifact has the bundle once, and names that every store accepts."""
    position = job.position(command)
    assert position is not None
    for step in job.steps[position + 1 :]:
        if step.run and step.runs_when_red:
            runner.run(step.run)
    artifact = runner.workspace / path
    assert artifact.is_file(), f"artifact {path}: got no file, expected the steps to pack one"
    with tarfile.open(artifact) as archive:
        names = [member.name for member in archive if not member.issym()]
    bundles = [name for name in names if name.endswith("/data/run.json")]
    assert len(bundles) == 1, f"bundles in the artifact: got {len(bundles)}, expected one"
    refused = [name for name in names if REFUSED_IN_NAMES & set(name)]
    assert not refused, f"names that the artifact store refuses: got {refused[:3]}, expected none"


def _assert_works(job: Job, done: JobRun) -> None:
    """Assert that a job passed, and that a job which writes a summary shows the gap table."""
    assert done.passed, f"job {job.name}: got failures {list(done.failed)}, expected success"
    if any(line.endswith(TO_SUMMARY) for line in job.commands):
        assert "| import |" in done.summary, (
            f"job summary: got {done.summary[:80]!r}, expected the gap table"
        )
