"""Runs that end before their last check: what was seen counts, and a person's Ctrl-C is 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof.base.wait import wait_until
from gateproof.description.sut import Sut
from gates.taxonomy.miniature import (
    COMMAND,
    NO_PROOFS,
    SOUND,
    Miniature,
    read_miniature,
    write_miniature,
)
from tests.acceptance.conftest import run_command
from tests.acceptance.test_distribution import bundles

Run = Callable[..., Miniature]
THREE = ("MIN-01", "MIN-02", "MIN-03")
TWO, ONE_PROCESS, TWO_PROCESSES = THREE[:2], ("-n", "1"), ("-n", "2")

CHECK = """
@criterion("{id}")
def test_{name}(commands, sut):
    observe(commands, sut)
    {end}
"""
FALSE = 'claim("sum of the miniature", got=1, expected=2)'


def check(identifier: str, end: str = "pass") -> str:
    """Return the source of a check that observes, and then ends in a certain way."""
    return CHECK.format(id=identifier, name=identifier[-2:], end=end)


FAILS_FIRST = check("MIN-01", FALSE) + check("MIN-02") + check("MIN-03")


@pytest.mark.parametrize(
    "arguments",
    [("-x",), ("--maxfail=1",), ("--sw",), ("-x", *ONE_PROCESS), ("--maxfail=1", *TWO_PROCESSES)],
    ids=["first", "maxfail", "stepwise", "distributed", "two-processes"],
)
def test_fail_before_an_early_stop_of_pytest_is_exit_1(
    tmp_path: Path, sut: Sut, arguments: tuple[str, ...]
) -> None:
    """A fail that was seen decides, and the reasons name the stop next to what was not checked."""
    write_miniature(sut, tmp_path, checks=FAILS_FIRST, ids=THREE)
    cached = [one for one in COMMAND if one not in ("-p", "no:cacheprovider")]  # --sw needs it
    done = run_command([*cached, *NO_PROOFS, *arguments], folder=tmp_path)
    ran = read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)
    assert (ran.exit_status, ran.run["exit_status"], ran.run["result"]) == (1, 1, "blocked")
    assert ran.judged("MIN-01") == ("fail", "gate_violation")
    stops = [one for one in ran.run["reasons"] if one.startswith("pytest stopped before the end: ")]
    assert len(stops) == 1, ran.run["reasons"]


@pytest.mark.parametrize(
    ("first", "status", "outcome", "processes"),
    [
        ("raise RuntimeError('broken')", 103, "error", ()),
        ("raise RuntimeError('broken')", 103, "error", ONE_PROCESS),
        ('pytest.exit("enough")', 100, "notchecked", ()),
        ('pytest.exit("enough")', 100, "notchecked", ONE_PROCESS),
        ('pytest.exit("enough", returncode=0)', 100, "notchecked", ()),
        ('pytest.exit("enough", returncode=5)', 100, "notchecked", ()),
    ],
)
def test_early_stop_without_a_fail_is_judged_by_what_ran(
    run_gates: Run, first: str, status: int, outcome: str, processes: tuple[str, ...]
) -> None:
    """No check can make the run end with 0, 2 or 5: what did not run is notchecked."""
    checks = check("MIN-01", first) + check("MIN-02", FALSE)
    ran = run_gates(checks, TWO, *NO_PROOFS, "-x", *processes)
    assert ran.exit_status == status, ran.output
    assert [one["outcome"] for one in ran.run["criteria"]] == [outcome, "notchecked"]
    why = "enough" if "exit" in first else "stopping after 1 failures"
    assert f"pytest stopped before the end: {why}" in ran.run["reasons"]


def test_fail_before_a_check_that_exits_pytest_is_exit_1(run_gates: Run) -> None:
    """`pytest.exit` after a fail does not hide it; its message is among the reasons."""
    checks = check("MIN-01", FALSE) + check("MIN-02", 'pytest.exit("enough", returncode=4)')
    ran = run_gates(checks, TWO, *NO_PROOFS)
    assert ran.exit_status == 1, ran.output
    assert ran.judged("MIN-02")[0] == "notchecked"
    assert "pytest stopped before the end: enough" in ran.run["reasons"]


def test_module_that_cannot_be_imported_is_never_exit_1(
    write_gates: Callable[..., None], run_gates: Run, tmp_path: Path
) -> None:
    """With -x pytest itself ends with 1, as after a failed check; no check has run."""
    write_gates(SOUND, ("MIN-01",))
    for name in ("a", "b"):
        (tmp_path / "gates" / f"test_{name}.py").write_text("import no_such_module\n")
    for arguments in ((), ("-x",), ("--continue-on-collection-errors",)):
        ran = run_gates("", (), *NO_PROOFS, *arguments)
        assert ran.exit_status == 2, ran.output
        assert "no bundle: the collection did not finish" in ran.output
    assert not bundles(tmp_path)


WAITS = """
import threading
from pathlib import Path

@criterion("MIN-02")
def test_waits(commands, sut):
    observe(commands, sut)
    Path("waiting").touch()
    threading.Event().wait(60)
"""


@pytest.mark.parametrize("whom", ["group", "controller"])
@pytest.mark.parametrize("processes", [(), ONE_PROCESS], ids=["one", "distributed"])
def test_interruption_by_a_person_is_2_and_keeps_the_fail(
    request: pytest.FixtureRequest, tmp_path: Path, sut: Sut, whom: str, processes: tuple[str, ...]
) -> None:
    """Ctrl-C and SIGTERM seal what was recorded, with xdist too; 2 comes before 1."""
    write_miniature(sut, tmp_path, checks=check("MIN-01", FALSE) + WAITS, ids=TWO)
    child = subprocess.Popen(
        ["env", "--default-signal=INT", *COMMAND, *NO_PROOFS, *processes],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    request.addfinalizer(child.wait)
    request.addfinalizer(child.kill)
    assert wait_until((tmp_path / "waiting").exists, deadline_s=60), "premise: the check waits"
    if whom == "group":
        os.killpg(child.pid, signal.SIGINT)
    else:
        child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 2
    run = json.loads((tmp_path / "reports/latest/data/run.json").read_text(encoding="utf-8"))
    outcomes = {one["id"]: one["outcome"] for one in run["criteria"]}
    assert outcomes == {"MIN-01": "fail", "MIN-02": "notchecked"}
    assert (run["exit_status"], run["result"]) == (2, "blocked")
