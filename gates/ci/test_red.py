"""Gate ci: the evidence of a failed run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from gateproof import FileProbe, Sut, copy_folders, criterion, falsified_by, file, premise, source

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


NAMES_CHECK = "test_tasks_are_registered_under_their_exact_names"
"""The check of IMP-03, which fails when a task was renamed."""


@criterion("CI-03", needs="task", limit_s=200.0)
@falsified_by(
    source(
        "seal-green-runs-only",
        "gateproof/plugin/hooks.py",
        "if not (run.bound or run.defects or run.lost):",
        "if status or not (run.bound or run.defects or run.lost):",
        tree="harness",
    ),
    expect="and no bundle, expected one of a red run",
)
@falsified_by(
    source(
        "cover-what-no-waiver-covers",
        "gateproof_evidence/judging/result.py",
        "return RELEASED if verdict.disposition is Disposition.WAIVED else VIOLATION",
        "return VIOLATION if verdict.disposition is Disposition.WAIVER_EXPIRED else RELEASED",
        tree="harness",
    ),
    expect="verdict in the bundle: got ('partial', 100)",
)
@falsified_by(
    source(
        "leave-junit-where-it-was",
        "gateproof/plugin/hooks.py",
        "config.option.xmlpath = str(run.staging / JUNIT)",
        "pass",
        tree="harness",
    ),
    expect="files of the red bundle: got no ['data/tests/junit.xml']",
)
@falsified_by(
    file(
        "forgive-in-the-makefile",
        "Makefile",
        "--evidence-out $(EVIDENCE) $(GATES_ARGS)",
        "--evidence-out $(EVIDENCE) $(GATES_ARGS) || true",
    ),
    expect="got exit 0 for a broken system, expected a red",
)
def test_bundle_of_a_red_run_is_complete_and_blocked(
    files: FileProbe, new_runner: NewRunner, sut: Sut, tmp_path: Path
) -> None:
    """When a task is renamed in a copy of the system, the bundle is complete and blocked."""
    command = documented(files)[0]
    broken = _broken_copy(sut, Path(tempfile.mkdtemp(dir=tmp_path)))
    runner = new_runner("red")
    # Embedded is enough for a claim about the bundle; in containers the copy would need an image.
    system = ("--environment", "embedded", "--sut", str(broken))
    done = runner.judge(command, *system, "-k", NAMES_CHECK)
    assert done.exit_status != 0, f"{command}: got exit 0 for a broken system, expected a red"
    run = runner.sealed_run()
    assert run, f"{command}: got exit {done.exit_status} and no bundle, expected one of a red run"
    result = (run["result"], run["exit_status"])
    assert result == ("blocked", 1), f"verdict in the bundle: got {result}, expected blocked and 1"
    red = [verdict["id"] for verdict in run["criteria"] if verdict["outcome"] == "fail"]
    assert red == ["IMP-03"], f"fails in the bundle: got {red}, expected IMP-03, the renamed task"
    [failed] = [verdict for verdict in run["criteria"] if verdict["id"] == "IMP-03"]
    wanted = {*PARTS, *(f"data/{capture}" for capture in failed["captures"])}
    missing = wanted - set(runner.sealed_files())
    assert len(wanted) > len(PARTS), "captures of IMP-03: got none, expected its observations"
    assert not missing, f"files of the red bundle: got no {sorted(missing)}, expected all of them"
    _assert_complete(runner)
    report = runner.files.read("reports/latest/data/report.html") or ""
    assert "blocked" in report, "report of the red run: got no 'blocked', expected the verdict"


def _assert_complete(runner: Runner) -> None:
    """Assert that both verifiers accept the bundle, and that it does not count as a release."""
    verify = ".venv/bin/gateproof verify reports/latest"
    for command, expected in (
        (verify, 0),
        ("sh reports/latest/verify.sh", 0),
        (f"{verify} --require-released", 1),
    ):
        done = runner.run(command)
        assert done.exit_status == expected, (
            f"red bundle: {command} got exit {done.exit_status}, expected {expected}"
        )
    shown = runner.run(".venv/bin/gateproof show --markdown reports/latest").output
    assert shown.startswith("**blocked** (exit status 1)"), (
        f"red bundle: show got {shown[:60]!r}, expected blocked on its first line"
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
