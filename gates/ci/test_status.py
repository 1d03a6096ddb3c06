"""Gate ci: the job of the gates command is red unless everything passed and is proven."""

from __future__ import annotations

from typing import Any

from gateproof import FileProbe, criterion, falsified_by, file

from .checkout import NewRepository, Repository
from .job import LIMIT_S, JobRun, NewJob
from .readme import documented
from .workflow import GATES_STEP, WORKFLOW, Job, gates_workflow

RECIPE = "\t$(BIN)/pytest $(GATES) --evidence-out $(EVIDENCE) $(GATES_ARGS)"


@criterion("CI-04", limit_s=LIMIT_S)
@falsified_by(
    file("forgive-in-the-step", WORKFLOW, GATES_STEP, GATES_STEP.replace("\n", " || true\n")),
    expect="violated criterion: the job got success",
)
@falsified_by(
    file(
        "pipe-in-a-shell-without-pipefail",
        WORKFLOW,
        GATES_STEP,
        GATES_STEP.replace("\n", " | tee gates.txt\n        shell: sh\n"),
    ),
    expect="violated criterion: the job got success",
)
@falsified_by(
    file("ignore-the-status-of-the-recipe", "Makefile", RECIPE, RECIPE.replace("\t", "\t-")),
    expect="violated criterion: the job got success",
)
@falsified_by(
    file(
        "leave-proofs-out-by-an-argument",
        "Makefile",
        "GATES_ARGS ?= -n auto\n",
        "GATES_ARGS ?= -n auto --no-falsify\n",
    ),
    expect="sound system: the bundle got ('partial', 100)",
)
@falsified_by(
    file(
        "leave-proofs-out-by-a-variable",
        WORKFLOW,
        "    timeout-minutes: 45\n",
        "    timeout-minutes: 45\n    env:\n      PYTEST_ADDOPTS: --no-falsify\n",
    ),
    expect="sound system: the bundle got ('partial', 100)",
)
def test_job_of_the_gates_fails_unless_everything_passed_and_is_proven(
    files: FileProbe, new_repository: NewRepository, new_job: NewJob
) -> None:
    """The job passes for a sound system, and fails for a violation and for a missing proof."""
    job = gates_workflow(files).job_that_mentions(documented(files)[0])
    _assert_not_left_out(job)

    def run(repository: Repository) -> tuple[JobRun, dict[str, Any]]:
        runner = new_job(repository.check_out())
        return runner.run(job), runner.sealed_run()

    _assert_released(*run(new_repository()))
    repository = new_repository(few=True)
    last = repository.criteria[-1]
    repository.set_violated(last)
    _assert_red("violated criterion", last, *run(repository), expected=("blocked", 1))
    repository.remove_proof(last)
    repository.set_violated()
    _assert_red("check without a proof", last, *run(repository), expected=("blocked", 100))


def _assert_not_left_out(job: Job) -> None:
    """Assert that the job runs for every event, once, and that the workflow fails with it."""
    assert (job.condition, job.needs) == ("", ()), (
        f"job {job.name}: condition and needs got {job.condition!r}, {job.needs}, expected none: "
        "a job that is skipped counts as passed"
    )
    assert not job.matrix, f"job {job.name}: got a matrix, expected one run, which cannot be empty"
    assert not job.forgiven, f"job {job.name}: got continue-on-error, expected the workflow to fail"


def _assert_released(done: JobRun, run: dict[str, Any]) -> None:
    """Assert that the whole of a sound system was selected, proven and released."""
    left_out = [one["id"] for one in run.get("criteria", ()) if one["outcome"] == "notselected"]
    assert not left_out, f"sound system: not selected got {left_out}, expected every criterion"
    result = (run.get("result"), run.get("exit_status"))
    assert result == ("released", 0), (
        f"sound system: the bundle got {result}, expected released; {list(done.failed)}"
    )
    assert done.passed, f"sound system: the job got {list(done.failed)}, expected success"


def _assert_red(
    what: str, identifier: str, done: JobRun, run: dict[str, Any], *, expected: tuple[str, int]
) -> None:
    """Assert that the job failed, and that it failed for the reason that was made."""
    assert not done.passed, f"{what}: the job got success, expected it to fail"
    result = (run.get("result"), run.get("exit_status"))
    assert result == expected, f"{what}: the bundle got {result}, expected {expected}"
    reasons = [reason for reason in run["reasons"] if reason.startswith(f"{identifier} ")]
    assert reasons, f"{what}: reasons got {run['reasons'][:3]}, expected {identifier}"
