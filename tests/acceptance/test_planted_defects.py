"""Planted defects of the examples: each is found by the criterion whose claim it breaks.

Owns the runs on broken copies. The defects are data, in `planted_defects.toml`; those of one group
do not touch each other and share a copy, so that three runs judge all.
"""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gates.taxonomy.miniature import Miniature, read_miniature
from tests.acceptance.conftest import ROOT, break_file, run_command

EXAMPLES = ROOT / "docs/examples"
TEXT = Path(__file__).with_name("planted_defects.toml").read_text(encoding="utf-8")
DEFECTS: dict[str, dict[str, Any]] = {one["name"]: one for one in tomllib.loads(TEXT)["defect"]}
NAMES = sorted(DEFECTS)
GROUPS = sorted({(one["system"], one["group"]) for one in DEFECTS.values()})

Judge = Callable[[str, int], Miniature]


def planted(system: str, group: int) -> list[dict[str, Any]]:
    """Return the defects of one copy, in the order of the file."""
    chosen = (system, group)
    return [one for one in DEFECTS.values() if (one["system"], one["group"]) == chosen]


def judge_group(system: str, group: int, out: Path) -> Miniature:
    """Plant the defects of a group into a copy of an example, and run the checks that find them."""
    copy = out / system
    shutil.copytree(EXAMPLES / system, copy, ignore=shutil.ignore_patterns("__pycache__"))
    defects = planted(system, group)
    for one in defects:
        for edit in one["edits"]:
            break_file(copy / edit["file"], edit["before"], edit["after"])
    checks = sorted({one["check"] for one in defects})
    command = [sys.executable, "-m", "pytest", *checks, f"--sut={copy / 'sut.toml'}"]
    command += ["--environment", "embedded", "--no-falsify", "-q", "-n", "2"]
    command += ["-p", "no:cacheprovider", "--evidence-out", str(out / "reports")]
    done = run_command(command, folder=ROOT)
    return read_miniature(out, exit_status=done.returncode, output=done.stdout)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Return a function that judges a group once, whichever test asks first."""
    runs: dict[tuple[str, int], Miniature] = {}

    def judge(system: str, group: int) -> Miniature:
        if (system, group) not in runs:
            out = tmp_path_factory.mktemp(f"{system}-{group}")
            runs[system, group] = judge_group(system, group, out)
        return runs[system, group]

    return judge


@pytest.mark.parametrize("name", NAMES)
def test_defect_fails_the_criterion_that_it_breaks(name: str, judged: Judge) -> None:
    """The criterion is violated, and a claim that does not hold names the object of the defect."""
    defect = DEFECTS[name]
    ran = judged(defect["system"], defect["group"])
    assert ran.judged(defect["criterion"]) == ("fail", "gate_violation"), ran.output
    claims = [one for one in ran.verdict(defect["criterion"])["claims"] if not one["holds"]]
    findings = [f"{one['name']}: {one['on']}: got {one['got']}" for one in claims]
    assert any(defect["names"] in text for text in findings), findings


@pytest.mark.parametrize(("system", "group"), GROUPS)
def test_defects_of_a_copy_fail_no_other_criterion(system: str, group: int, judged: Judge) -> None:
    """The other criteria of these files pass, or do not apply."""
    ran = judged(system, group)
    outcomes = {one["id"]: one["outcome"] for one in ran.run["criteria"]}
    bad = {
        name for name, outcome in outcomes.items() if outcome in ("fail", "error", "inconclusive")
    }
    assert bad == {one["criterion"] for one in planted(system, group)}, ran.output


def test_defects_are_of_fourteen_kinds() -> None:
    """No two defects are of one kind, and no two are found by one criterion."""
    for key in ("kind", "criterion"):
        assert len({one[key] for one in DEFECTS.values()}) == len(DEFECTS) == 14
