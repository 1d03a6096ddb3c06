"""The selection of proofs, and the self-proof of the harness in each run with proofs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateproof.base.project import copy_folders
from gateproof.description.sut import Sut
from gateproof.faults.code.source import change_file
from gateproof.faults.code.text import Replacement
from gateproof.stack.copy import HARNESS_PACKAGES
from gateproof_evidence.judging.proof import SPECIMENS
from gates.taxonomy.miniature import COMMAND, Miniature, read_miniature, write_miniature
from tests.acceptance.conftest import GATEPROOF, run_command

Run = Callable[..., Miniature]

CHECKS = """
from gateproof import falsified_by, source

def mark(name, text):
    return source(name, "system/observability/health.py", append=f"# {text}", imports=False)

def claim_none(files, mark):
    text = files.read("system/observability/health.py")
    claim("text of a mark", on=mark, got=f"# {mark}" in text, expected=False)

@criterion("MIN-01")
@falsified_by(mark("one-mark", "mark one"), expect="mark: mark one: got true")
@falsified_by(mark("loud-mark", "mark one, loud"), expect=("text of a mark", "mark one"))
def test_one(files):
    claim_none(files, "mark one")

@criterion("MIN-02")
@falsified_by(mark("two-mark", "mark two"), expect=("text of a mark", "mark two"))
def test_two(files):
    claim_none(files, "mark two")

@criterion("MIN-03")
@falsified_by(mark("any-mark", "mark two and more"), expect=("text of a mark", "mark"))
def test_any(files):
    claim_none(files, "mark")
"""
IDS = ("MIN-01", "MIN-02", "MIN-03")


def proofs(ran: Miniature) -> dict[str, str]:
    """Return the result of each falsifier."""
    return {
        f"{verdict['id']}:{proof['falsifier']}": proof["result"]
        for verdict in ran.run["criteria"]
        for proof in verdict["proofs"]
    }


def test_all_proofs_are_the_default_and_release(run_gates: Run) -> None:
    """Every falsifier runs, every specimen has the expected result, and the run is released."""
    ran = run_gates(CHECKS, IDS)
    assert ran.exit_status == 0, ran.output
    assert set(proofs(ran).values()) == {"proven"}
    assert {one["name"]: one["result"] for one in ran.run["self_proof"]} == SPECIMENS
    assert ran.run["matrix"] == []


@pytest.mark.parametrize(
    ("asked", "run"),
    [
        ("MIN-01", {"MIN-01:one-mark", "MIN-01:loud-mark"}),
        ("two-mark,MIN-01:one-mark", {"MIN-02:two-mark", "MIN-01:one-mark"}),
        (
            "miniature",
            {"MIN-01:one-mark", "MIN-01:loud-mark", "MIN-02:two-mark", "MIN-03:any-mark"},
        ),
        ("none", set()),
    ],
)
def test_selection_of_proofs_runs_those_and_never_releases(
    run_gates: Run, asked: str, run: set[str]
) -> None:
    """A criterion, a gate or a falsifier selects proofs; a run without all of them is partial."""
    ran = run_gates(CHECKS, IDS, f"--falsify={asked}")
    assert (ran.exit_status, ran.run["result"]) == (100, "partial"), ran.output
    assert {name for name, result in proofs(ran).items() if result == "proven"} == run
    assert bool(ran.run["self_proof"]) == (asked != "none")


def test_criterion_of_another_catalogue_is_judged_proven_and_verified(
    write_gates: Callable[..., None], run_gates: Run, tmp_path: Path
) -> None:
    """Ids, gates and phases of any form are selected, sealed, verified, and shown by phase."""
    ids = ("SOC2-CC6.1", "7.2.100", "R_3")
    checks = CHECKS
    for old, new in zip(IDS, ids, strict=True):
        checks = checks.replace(old, new)
    write_gates(checks, ids)
    catalogue = tmp_path / "gates" / "criteria.toml"
    text = catalogue.read_text(encoding="utf-8").replace('"B0.1"', '"2026-Q4"')
    catalogue.write_text(text.replace('"miniature"', '"rls_read-2"'), encoding="utf-8")
    ran = run_gates(checks, ids, "--falsify=SOC2-CC6.1:one-mark,rls_read-2")
    assert set(proofs(ran).values()) == {"proven"}, ran.output
    bundle = tmp_path / "reports" / "latest"
    for command, words in (
        (("verify", bundle), "whole"),
        (("show", bundle, "--phase", "2026-Q4"), "2026-Q4"),
        (("show", bundle, "--criterion", "SOC2-CC6.1"), "proven one-mark"),
    ):
        done = run_command([*GATEPROOF, *map(str, command)], folder=tmp_path)
        assert done.returncode == 0, done.stdout
        assert words in done.stdout, done.stdout
    assert (bundle / "data/transcripts/rls_read-2/SOC2-CC6.1/one-mark.txt").is_file()


def test_long_selection_of_proofs_is_no_path(run_gates: Run) -> None:
    """A selection that is longer than a file name can be works, also as a word of its own."""
    asked = ",".join(["MIN-01:one-mark"] * 400)
    ran = run_gates(CHECKS, IDS, "--falsify", asked)
    assert (ran.exit_status, ran.run["result"]) == (100, "partial"), ran.output[:500]
    assert proofs(ran)["MIN-01:one-mark"] == "proven"


@pytest.mark.parametrize("asked", ["no-such-mark", "all,MIN-01", ""])
def test_selection_of_an_unknown_name_is_bad_input(run_gates: Run, asked: str) -> None:
    """An unknown name is refused, since it would select nothing without a message."""
    ran = run_gates(CHECKS, IDS, f"--falsify={asked}")
    assert ran.exit_status == 4, ran.output
    assert "--falsify: got" in ran.output
    assert ran.run == {}


def test_matrix_runs_every_check_against_every_falsifier_of_its_gate(run_gates: Run) -> None:
    """The run records for each check and each fault whether the check fails under it."""
    ran = run_gates(CHECKS, IDS, "--falsify=matrix")
    assert ran.exit_status == 0, ran.output
    cells = {(c["criterion"], c["falsifier"]): c["result"] for c in ran.run["matrix"]}
    assert len(cells) == 12
    killed = {name for (criterion, name), result in cells.items() if result == "killed"}
    assert killed == {"one-mark", "loud-mark", "two-mark", "any-mark"}
    assert cells["MIN-01", "two-mark"] == cells["MIN-02", "one-mark"] == "survived"
    assert cells["MIN-03", "one-mark"] == cells["MIN-02", "any-mark"] == "killed"


BREAKS = {
    "blind counts": (
        "        return Falsification.BLIND, ",
        "        return Falsification.PROVEN, ",
    ),
    "landing is not checked": (
        "return after is not None and after != event.fingerprint_before",
        "return True",
    ),
    "any red counts": ('"" if predicted_finding(event) else _unpredicted(event)', '""'),
    "nothing is proven": ("return Falsification.PROVEN, ", "return Falsification.VOID, "),
}


@pytest.mark.parametrize("name", BREAKS)
def test_harness_that_judges_proofs_wrongly_is_a_defect(
    tmp_path: Path, sut: Sut, name: str
) -> None:
    """Each rule that is removed from the harness changes the result of a specimen: exit 103."""
    copy = tmp_path / "harness"
    for package in HARNESS_PACKAGES:
        copy_folders(package.parent, (package.name,), copy)
    before, after = BREAKS[name]
    change_file(
        copy / "gateproof_evidence" / "judging" / "proof.py",
        Replacement(before=before, after=after),
    )
    write_miniature(sut, tmp_path, checks=CHECKS, ids=IDS)
    ran = run_with(copy, tmp_path)
    assert ran.exit_status == 103, ran.output
    assert any("self-proof" in defect for defect in ran.run["defects"]), ran.run["defects"]


def run_with(harness: Path, folder: Path, *arguments: str) -> Miniature:
    """Run the miniature of a folder with another copy of the harness."""
    env: dict[str, Any] = {**os.environ, "PYTHONPATH": str(harness)}
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    return read_miniature(folder, exit_status=done.returncode, output=done.stdout + done.stderr)


def test_proofs_of_a_bundle_can_be_listed(run_gates: Run, tmp_path: Path) -> None:
    """`gateproof show --proofs` lists each falsifier with its change and its result."""
    run_gates(CHECKS, IDS)
    command = [*GATEPROOF, "show", "--proofs", "reports/latest"]
    listed = run_command(command, folder=tmp_path)
    assert listed.returncode == 0, listed.stdout
    assert "MIN-01:one-mark" in listed.stdout
    assert "4 falsifiers: 4 source" in listed.stdout
    done = run_command([*command, "--json"], folder=tmp_path)
    assert done.returncode == 0, done.stdout
    rows = json.loads(done.stdout)["proofs"]
    assert {row["result"] for row in rows} == {"proven"}
    assert len(rows) == 4
