"""Gate ci: the workflow runs on a clean machine, and its commands work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ruamel.yaml.error import YAMLError

from gateproof import BringUp, FileProbe, Sut, criterion, falsified_by, file

from .readme import documented_commands
from .runner import SUMMARY, Runner
from .workflow import Job, Workflow, read_workflow

WORKFLOW, README = ".github/workflows/gates.yml", "README.md"
CHECKOUT, PYTHON = "actions/checkout", "actions/setup-python"
UPLOAD, DOWNLOAD = "actions/upload-artifact", "actions/download-artifact"
TO_SUMMARY = ' >> "$GITHUB_STEP_SUMMARY"'
KEY_VARIABLES = frozenset({"GATEPROOF_SIGNING_KEY", "GATEPROOF_SIGNING_KEY_PASSPHRASE"})
REFUSED_IN_NAMES = frozenset('":<>|*?\\\r\n')
"""Characters that the artifact store refuses in file names."""

BROKER_CHECK = "test_worker_has_no_client_of_another_broker"
NAMES_CHECK, NAMES = "test_tasks_are_registered_under_their_exact_names", "IMP-03"
"""Names of single checks that inner runs select; the second check needs no server."""

GATES_STEP = "      - run: make gates\n"
UPLOAD_STEP = """\
      - name: keep the evidence
        if: always()
        uses: actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1
        with:
          name: reports
          path: reports/
          include-hidden-files: true
          if-no-files-found: error
          retention-days: 30
"""

LIMIT_S = 300.0

NewRunner = Callable[[str], Runner]


@criterion("CI-01", limit_s=LIMIT_S)
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
    expect="upload of reports/ got condition ''",
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
    command = _documented(files)[0]
    workflow = _workflow(files)
    missing = {"push", "pull_request"} - workflow.triggers
    assert not missing, f"triggers of {WORKFLOW}: got none of {missing}, expected every change"
    jobs = [job for job in workflow.jobs if job.position(command) is not None]
    assert len(jobs) == 1, f"jobs that run {command!r}: got {len(jobs)}, expected one"
    _assert_clean(jobs[0], command)
    _assert_failure_fails_job(jobs[0], command)
    _assert_uploads(jobs[0], command)
    runner = new_runner("judge")
    done = runner.judge(command, "--environment", bring_up.report().kind, "-k", BROKER_CHECK)
    run = runner.sealed_run()
    assert run, f"{command}: got exit {done.exit_status} and no bundle, expected a sealed one"
    _assert_provisioned(runner.sealed_observations(), sut)
    outcome = {verdict["id"]: verdict["outcome"] for verdict in run["criteria"]}["BRK-03"]
    assert outcome == "pass", (
        f"other brokers in the bundle: got {outcome} for BRK-03, expected a worker without them"
    )
    _assert_uploadable(runner)


@criterion("CI-02", limit_s=LIMIT_S)
@falsified_by(
    file(
        "verify-in-ci-as-nobody-else-does",
        WORKFLOW,
        "      - run: .venv/bin/gateproof verify reports/latest\n",
        "      - run: .venv/bin/python -m gateproof_evidence verify reports/latest\n",
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
    expect="make gates: got no verdict",
)
def test_commands_of_the_workflow_are_the_readme_s_and_work(
    files: FileProbe, new_runner: NewRunner, bring_up: BringUp
) -> None:
    """Each command is in the README and works, run job by job with the artifact in between."""
    documented, workflow = _documented(files), _workflow(files)
    lines = [line.removesuffix(TO_SUMMARY) for line in workflow.commands]
    assert documented[0] in lines, f"{WORKFLOW}: got {lines}, expected {documented[0]!r} in it"
    unknown = [line for line in lines if line not in documented]
    assert not unknown, f"commands of {WORKFLOW} that {README} does not have: got {unknown}"
    before: Runner | None = None
    for job in workflow.jobs:
        runner = new_runner(job.name)
        if job.uses(DOWNLOAD):
            assert before is not None, f"job {job.name}: downloads, expected a job before it"
            runner.take_artifact(before)
        for line in job.commands:
            _assert_works(runner, line, gates=documented[0], kind=bring_up.report().kind)
        before = runner


def _documented(files: FileProbe) -> tuple[str, ...]:
    documented = documented_commands(files.read(README) or "")
    assert documented, f"{README}: got no command in a shell block, expected the gates command"
    return documented


def _workflow(files: FileProbe) -> Workflow:
    text = files.read(WORKFLOW)
    assert text is not None, f"{WORKFLOW}: got no such file, expected the workflow of the gates"
    try:
        return read_workflow(text)
    except YAMLError as error:
        message = " ".join(str(error).split())
        raise AssertionError(f"{WORKFLOW}: got {message}, expected valid YAML") from error


def _assert_clean(job: Job, command: str) -> None:
    """Assert that only the run itself provisions anything."""
    assert job.machine.startswith("ubuntu-"), (
        f"job {job.name}: machine got {job.machine!r}, expected a fresh, hosted ubuntu-..."
    )
    assert not job.container, f"job {job.name}: got a container, expected the machine itself"
    others = [image for image in job.services if not image.startswith("postgres:")]
    assert not others, f"job {job.name}: services got {others}, expected none but PostgreSQL"
    steps = job.steps[: job.position(command)]
    before = [step.action or step.run for step in steps]
    assert set(before) <= {CHECKOUT, PYTHON}, (
        f"job {job.name}: steps before {command!r} got {before}, expected checkout and Python only"
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
    unexpected = (job.variables | gates.variables) - KEY_VARIABLES
    assert not unexpected, (
        f"job {job.name}: variables of {command!r} got {sorted(unexpected)}, expected none that "
        "could change what it runs"
    )


def _assert_uploads(job: Job, command: str) -> None:
    """Assert that the bundle is uploaded after the command, whether it passed or failed."""
    position = job.position(command)
    assert position is not None
    uploads = [step for step in job.steps[position + 1 :] if step.action == UPLOAD]
    assert uploads, f"job {job.name}: got no {UPLOAD} after {command!r}, expected the bundle kept"
    paths = [str(step.inputs.get("path", "")).strip() for step in uploads]
    assert paths == ["reports/"], f"job {job.name}: uploads got {paths}, expected reports/"
    assert uploads[0].runs_when_red, (
        f"job {job.name}: upload of reports/ got condition {uploads[0].condition!r}, expected "
        "always()"
    )
    missing = uploads[0].inputs.get("if-no-files-found")
    assert missing == "error", (
        f"job {job.name}: upload without files got {missing!r}, expected an error"
    )


def _assert_provisioned(observations: list[dict[str, Any]], sut: Sut) -> None:
    """Assert that the bundle records PostgreSQL, roles, migrations, a worker, and nothing else."""
    own = [one for one in observations if one["part"] == "bring-up"]
    provisioned = [one["data"]["provisioned"] for one in own if one["probe"] == "environment"]
    assert [name.split()[0] for name in provisioned] == ["PostgreSQL", "roles"], (
        f"provisioned in the bundle: got {provisioned}, expected only PostgreSQL and roles"
    )
    upgrade = sut.fill(sut.migrations.upgrade, revision=sut.migrations.all)[1:]
    commands = [one["data"] for one in own if one["probe"] == "process"]
    migrated = [one["exit_status"] for one in commands if one["command"][1:] == upgrade]
    assert migrated == [0], f"migrations in the bundle: got exits {migrated}, expected [0]"
    assert len(commands) == 1, (
        f"commands of the bring-up: got {[one['command'] for one in commands]}, expected one"
    )
    answers = [one["data"]["answered"] for one in own if one["probe"] == "tasks"]
    states = {answer.get("state") for answer in answers}
    assert "SUCCESS" in states, f"ping of the bring-up: got {states}, expected a worker's answer"


def _assert_uploadable(runner: Runner) -> None:
    """Assert that the artifact store accepts the name of every file."""
    names = runner.sealed_files()
    assert names, "manifest of the bundle: got no file, expected all of them"
    refused = [name for name in names if REFUSED_IN_NAMES & set(name)]
    assert not refused, f"names that the artifact store refuses: got {refused[:3]}, expected none"


def _assert_works(runner: Runner, line: str, *, gates: str, kind: str) -> None:
    """Assert that one command works; of the gates, run a single check, which releases nothing."""
    if line == gates:
        done = runner.judge(line, "--environment", kind, "-k", NAMES_CHECK)
        verdicts = runner.sealed_run().get("criteria", ())
        judged = next((one["outcome"] for one in verdicts if one["id"] == NAMES), "no verdict")
        assert judged == "pass", (
            f"{line}: got {judged} (exit {done.exit_status}), expected {NAMES} to pass"
        )
        return
    done = runner.make(line) if line.startswith("make ") else runner.run(line)
    assert done.exit_status == 0, (
        f"{line}: got exit {done.exit_status} ({_last_line(done.output)}), expected 0"
    )
    if line.endswith(TO_SUMMARY):
        summary = runner.files.read(SUMMARY) or ""
        assert "| import |" in summary, f"job summary: got {summary[:80]!r}, expected the gap table"


def _last_line(output: str) -> str:
    return (output.strip().splitlines() or ["it printed nothing"])[-1]
