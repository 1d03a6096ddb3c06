"""Gate ci: the evidence of a failed run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateproof import (
    FileProbe,
    Sut,
    claim,
    copy_folders,
    criterion,
    falsified_by,
    file,
    premise,
    source,
)

from .readme import documented
from .runner import Runner

NewRunner = Callable[[str], Runner]

PARTS = frozenset(
    f"data/{name}"
    for name in (
        *("report.html", "run.json", "journal.jsonl", "catalogue.json"),
        *("tests/junit.xml", "tests/pytest.html"),
    )
)
"""Files that an auditor finds in every bundle."""

RED = "red run"
"""The object of the claims: the run of a broken system."""
RENAMED = "IMP-03"
"""The criterion that fails when a task was renamed."""
BLOCKED = "**blocked** (exit status 1)"
"""How `gateproof show` begins for the bundle."""

NAMES_CHECK = "test_tasks_are_registered_under_their_exact_names"
"""The check of `RENAMED`."""


@criterion("CI-03", needs="task", limit_s=200.0)
@falsified_by(
    source(
        "seal-green-runs-only",
        "gateproof/plugin/hooks.py",
        "if not (run.bound or run.defects or run.lost):",
        "if status or not (run.bound or run.defects or run.lost):",
        tree="harness",
    ),
    expect=("sealed bundles", "red run", "got 0"),
)
@falsified_by(
    source(
        "cover-what-no-waiver-covers",
        "gateproof_evidence/judging/result.py",
        "return RELEASED if verdict.disposition is Disposition.WAIVED else VIOLATION",
        "return VIOLATION if verdict.disposition is Disposition.WAIVER_EXPIRED else RELEASED",
        tree="harness",
    ),
    expect=("result in the bundle", "red run", "got partial, 100"),
)
@falsified_by(
    source(
        "leave-junit-where-it-was",
        "gateproof/plugin/hooks.py",
        "config.option.xmlpath = str(run.staging / JUNIT)",
        "pass",
        tree="harness",
    ),
    expect=("files that the bundle lacks", "red run", "got data/tests/junit.xml"),
)
@falsified_by(
    file(
        "forgive-in-the-makefile",
        "Makefile",
        "--evidence-out $(EVIDENCE) $(GATES_ARGS)",
        "--evidence-out $(EVIDENCE) $(GATES_ARGS) || true",
    ),
    expect=("exit status of the gates command", "red run", "got 0"),
)
def test_bundle_of_a_red_run_is_complete_and_blocked(
    files: FileProbe, new_runner: NewRunner, sut: Sut, tmp_path: Path
) -> None:
    """When a task is renamed in a copy of the system, the bundle is complete and blocked."""
    commands = documented(files)
    if not commands:
        return
    broken = _broken_copy(sut, Path(tempfile.mkdtemp(dir=tmp_path)))
    runner = new_runner("red")
    # Embedded is enough for a claim about the bundle; in containers the copy would need an image.
    system = ("--environment", "embedded", "--sut", str(broken))
    done = runner.judge(commands[0], *system, "-k", NAMES_CHECK)
    run, status = runner.sealed_run(), done.exit_status
    claim("exit status of the gates command", on=RED, got=status, relation="differs", expected=0)
    if claim("sealed bundles", on=RED, got=int(bool(run)), expected=1):
        judge_verdicts(run)
        judge_files(runner, run)
        judge_as_others_see_it(runner)


def judge_verdicts(run: Mapping[str, Any]) -> None:
    """Judge the result of the run, and that only the renamed task is a failure."""
    result = (run["result"], run["exit_status"])
    claim("result in the bundle", on=RED, got=result, expected=("blocked", 1))
    red = [verdict["id"] for verdict in run["criteria"] if verdict["outcome"] == "fail"]
    claim("failed criteria in the bundle", on=RED, got=red, expected=[RENAMED])


def judge_files(runner: Runner, run: Mapping[str, Any]) -> None:
    """Judge that the bundle has all parts, and the captures of the failed criterion."""
    captures = [
        f"data/{capture.rpartition(':')[0]}"
        for verdict in run["criteria"]
        if verdict["id"] == RENAMED
        for capture in verdict["captures"]
    ]
    count = len(captures)
    claim("captures in the bundle", on=RENAMED, got=count, relation="at_least", expected=1)
    wanted = {*PARTS, *captures}
    missing = wanted - set(runner.sealed_files())
    claim("files that the bundle lacks", on=RED, got=missing, expected=[], over=wanted)


def judge_as_others_see_it(runner: Runner) -> None:
    """Judge that both verifiers accept the bundle, that it is no release, and how it is shown."""
    verify = ".venv/bin/gateproof verify reports/latest"
    for command, expected in (
        (verify, 0),
        ("sh reports/latest/verify.sh", 0),
        (f"{verify} --require-released", 1),
    ):
        done = runner.run(command)
        claim("exit status of the command", on=command, got=done.exit_status, expected=expected)
    shown = runner.run(".venv/bin/gateproof show --markdown reports/latest").output
    claim("begin of the shown bundle", on=RED, got=shown[: len(BLOCKED)], expected=BLOCKED)
    report = runner.files.read("reports/latest/data/report.html") or ""
    claim(
        "times that the report says blocked",
        on=RED,
        got=report.count("blocked"),
        relation="at_least",
        expected=1,
    )


def _broken_copy(sut: Sut, folder: Path) -> Path:
    """Copy the system, rename its last task, and return the path of the copy's description."""
    copy_folders(sut.folder, sut.sources, folder)
    name = sut.tasks[-1]
    renamed = 0
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        renamed += text.count(f'"{name}"')
        path.write_text(text.replace(f'"{name}"', f'"{name}_renamed"'), encoding="utf-8")
    premise("places of a task's name", on=name, got=renamed, relation="at_least", expected=1)
    return folder / sut.inner_path
