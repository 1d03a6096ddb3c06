"""Gate ci: the job of the gates command is red unless everything passed and is proven."""

from __future__ import annotations

from typing import Any

from gateproof import FileProbe, claim, criterion, falsified_by, file

from .checkout import NewRepository, Repository
from .job import LIMIT_S, JobRun, NewJob
from .readme import documented
from .workflow import GATES_STEP, WORKFLOW, Job, gates_workflow

FEW, WHOLE = "first checks of a sound system", "sound system"
RECIPE = "\t$(BIN)/pytest $(GATES) --evidence-out $(EVIDENCE) $(GATES_ARGS)"


@criterion("CI-04", limit_s=LIMIT_S)
@falsified_by(
    file("forgive-in-the-step", WORKFLOW, GATES_STEP, GATES_STEP.replace("\n", " || true\n")),
    expect=("failed commands of the job", "violated criterion", "got none"),
)
@falsified_by(
    file(
        "pipe-in-a-shell-without-pipefail",
        WORKFLOW,
        GATES_STEP,
        GATES_STEP.replace("\n", " | tee gates.txt\n        shell: sh\n"),
    ),
    expect=("failed commands of the job", "violated criterion", "got none"),
)
@falsified_by(
    file("ignore-the-status-of-the-recipe", "Makefile", RECIPE, RECIPE.replace("\t", "\t-")),
    expect=("failed commands of the job", "violated criterion", "got none"),
)
@falsified_by(
    file(
        "leave-proofs-out-by-an-argument",
        "Makefile",
        "GATES_ARGS ?= -n auto\n",
        "GATES_ARGS ?= -n auto --no-falsify\n",
    ),
    expect=("result in the bundle", FEW, "got partial, 100"),
)
@falsified_by(
    file(
        "leave-proofs-out-by-a-variable",
        WORKFLOW,
        "    timeout-minutes: 45\n",
        "    timeout-minutes: 45\n    env:\n      PYTEST_ADDOPTS: --no-falsify\n",
    ),
    expect=("result in the bundle", FEW, "got partial, 100"),
)
def test_job_of_the_gates_fails_unless_everything_passed_and_is_proven(
    files: FileProbe, new_repository: NewRepository, new_job: NewJob
) -> None:
    """The job passes for a sound system, and fails for a violation and for a missing proof."""
    commands, workflow = documented(files), gates_workflow(files)
    job = workflow.job_that_mentions(commands[0]) if workflow and commands else None
    if job is None or not judge_that_it_is_not_left_out(job):
        return

    def run(repository: Repository) -> tuple[JobRun, dict[str, Any]]:
        runner = new_job(repository.check_out())
        return runner.run(job), runner.sealed_run()

    # The run of all checks takes longest, and comes last.
    repository = new_repository(few=True)
    if not judge_released(FEW, *run(repository)):
        return
    last = repository.criteria[-1]
    repository.set_violated(last)
    if not judge_red("violated criterion", last, *run(repository), expected=("blocked", 1)):
        return
    repository.remove_proof(last)
    repository.set_violated()
    if judge_red("check without a proof", last, *run(repository), expected=("blocked", 100)):
        judge_released(WHOLE, *run(new_repository()))


def judge_that_it_is_not_left_out(job: Job) -> bool:
    """Judge that the job runs for every event, once, and that the workflow fails with it.

    A job that is skipped counts as passed, and so does one with an empty matrix.
    """
    return all(
        (
            claim("condition of the job", on=job.name, got=job.condition, expected=""),
            claim("jobs that the job needs", on=job.name, got=job.needs, expected=[]),
            claim("matrix of the job", on=job.name, got=job.matrix, expected=False),
            claim("continue-on-error of the job", on=job.name, got=job.forgiven, expected=False),
        )
    )


def judge_released(on: str, done: JobRun, run: dict[str, Any]) -> bool:
    """Judge that everything of a sound system was selected, proven and released."""
    result = run.get("result"), run.get("exit_status")
    left_out = [one["id"] for one in run.get("criteria", ()) if one["outcome"] == "notselected"]
    return all(
        (
            claim("criteria that are not selected", on=on, got=left_out, expected=[]),
            claim("result in the bundle", on=on, got=result, expected=("released", 0)),
            claim("failed commands of the job", on=on, got=done.failed, expected=[]),
        )
    )


def judge_red(
    on: str, identifier: str, done: JobRun, run: dict[str, Any], *, expected: tuple[str, int]
) -> bool:
    """Judge that the job failed, and that it failed for the reason that was made."""
    result = (run.get("result"), run.get("exit_status"))
    named = [reason.partition(" ")[0] for reason in run.get("reasons", ())]
    return all(
        (
            claim(
                "failed commands of the job",
                on=on,
                got=done.failed,
                relation="differs",
                expected=[],
            ),
            claim("result in the bundle", on=on, got=result, expected=expected),
            claim(
                "first words of the reasons",
                on=on,
                got=named,
                relation="contains",
                expected=identifier,
            ),
        )
    )
