"""A workflow, Makefile or configuration that hides a red run: gate ci fails, with the finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof.base.git import git
from gateproof.base.project import copy_folders, copy_project
from tests.acceptance.conftest import ROOT, break_file, judge_copy
from tests.ci_guide import with_key

CI = "system/gates/ci"
STATUS, TRIGGERS = f"{CI}/test_status.py", f"{CI}/test_workflow.py"
VERIFICATION = f"{CI}/test_verification.py"
WORKFLOW = ".github/workflows/gates.yml"
STEP = "      - run: make gates\n"
ARGUMENTS = "GATES_ARGS ?= -n auto\n"
NAME = "    name: judge the system\n"
PARTIAL = "result in the bundle: first checks of a sound system: got partial, 100"

CHANGES = {
    "arguments: one gate less": (
        "Makefile",
        ARGUMENTS,
        "GATES_ARGS ?= -n auto -k 'not rls'\n",
        "criteria that are not selected: first checks of a sound system: got RLS-09",
    ),
    "arguments: one check less": (
        "Makefile",
        ARGUMENTS,
        "GATES_ARGS ?= -n auto -k 'not sees_exactly_its_own_rows'\n",
        "criteria that are not selected: sound system: got RLS-02",
    ),
    "configuration: no proofs": (
        "pyproject.toml",
        '"--strict-config"]',
        '"--strict-config", "--no-falsify"]',
        PARTIAL,
    ),
    "step: a shell that forgives": (
        WORKFLOW,
        STEP,
        f"{STEP}        shell: bash -c 'bash -e {{0}} || true'\n",
        "failed commands of the job: violated criterion: got none",
    ),
    "step: another folder": (
        WORKFLOW,
        STEP,
        f"{STEP}        working-directory: docs\n",
        "result in the bundle: first checks of a sound system: got null, null",
    ),
    "job: errors ignored by a variable": (
        WORKFLOW,
        NAME,
        f"{NAME}    env:\n      MAKEFLAGS: -i\n",
        "failed commands of the job: violated criterion: got none",
    ),
    "job: an empty matrix": (
        WORKFLOW,
        NAME,
        f"{NAME}    strategy:\n      matrix:\n        python: []\n",
        "matrix of the job: gates: got true",
    ),
    "job: needs one that is skipped": (
        WORKFLOW,
        NAME,
        f"{NAME}    needs: verify\n",
        "jobs that the job needs: gates: got verify",
    ),
    "workflow: another branch": (
        WORKFLOW,
        "    branches: [main]\n",
        "    branches: [release]\n",
        'filters that leave out changes: push: got {"branches": ["release"]}',
    ),
}
"""File, text, its replacement, and what the gate must find. Changes that are falsifiers of the gate
are not repeated here: every run of the gates proves them."""


def copy_checkout(into: Path) -> None:
    """Copy the project with the compiled files of the harness, which the runs import."""
    copy_project(ROOT, into)
    copy_folders(ROOT, ("evidence", "harness"), into)


@pytest.mark.parametrize("name", list(CHANGES))
def test_hidden_red_fails_gate_ci(name: str, tmp_path: Path) -> None:
    """A change by which a red run could pass, or less would be judged, is a violation."""
    file, before, after, finding = CHANGES[name]
    copy_checkout(tmp_path / "copy")
    break_file(tmp_path / "copy" / file, before, after)
    checks = TRIGGERS if name.startswith("workflow") else STATUS
    ran = judge_copy(tmp_path / "copy", tmp_path, checks)
    assert any(finding in reason for reason in ran.run["reasons"]), ran.run["reasons"]
    assert ran.exit_status == 1, ran.output


def test_gate_ci_leaves_the_checkout_that_it_judges_alone(tmp_path: Path) -> None:
    """In a linked worktree, where .git is a file, the gate commits nothing to its repository."""
    first, copy = tmp_path / "first", tmp_path / "copy"
    copy_checkout(first)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    for command in (["init"], ["add", "--all"], ["commit", "--message=first"]):
        assert git(first, *identity, *command) is not None, command
    assert git(first, "worktree", "add", str(copy), "-b", "judged") is not None
    before = git(copy, "rev-parse", "HEAD")
    assert before
    ran = judge_copy(copy, tmp_path, VERIFICATION)
    assert ran.judged("CI-05") == ("pass", None), ran.output
    assert git(copy, "rev-parse", "HEAD") == before
    assert git(copy, "status", "--porcelain") == ""


def test_guide_for_a_signing_key_passes_gate_ci(tmp_path: Path) -> None:
    """The workflow with the guide's steps for a key passes the gate, which has no secret."""
    copy = tmp_path / "copy"
    copy_checkout(copy)
    for before, after in with_key():
        break_file(copy / WORKFLOW, before, after)
    ran = judge_copy(copy, tmp_path, CI)
    outcomes = {one["id"]: one["outcome"] for one in ran.run["criteria"] if one["gate"] == "ci"}
    assert set(outcomes.values()) == {"pass"}, ran.output
