"""Runs that pytest-xdist distributes: one journal, one bundle, and the verdicts of one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gates.taxonomy.miniature import COMMAND, NO_PROOFS, SOUND, Miniature
from tests.acceptance.conftest import GATEPROOF, run_command, run_piped
from tests.acceptance.test_bad_input import refused
from tests.acceptance.test_exit_status import CLAIM, PROVEN, falsifier

Run = Callable[..., Miniature]
TWO = ("-n", "2")

MIXED = """
@criterion("MIN-02")
def test_false(commands, sut):
    observe(commands, sut)
    claim("sum of the miniature", got=1, expected=2)

@criterion("MIN-03")
def test_silent():
    pass

@pytest.fixture
def broken():
    raise RuntimeError("the set-up broke")

@criterion("MIN-04")
def test_broken_set_up(broken, commands, sut):
    observe(commands, sut)

@criterion("MIN-05")
def test_not_here(commands, sut):
    observe(commands, sut)
    raise NotApplicableError("not here")
"""
FIVE = tuple(f"MIN-0{number}" for number in range(1, 6))

DIES = """
import os
@criterion("MIN-02")
def test_dies(commands, sut):
    observe(commands, sut)
    os._exit({status})
"""


DESCRIBES_ITSELF = """
import json, os, signal, sys
from pathlib import Path

@criterion("MIN-01")
def test_describes_itself(commands, sut):
    observe(commands, sut)
    main = sys.modules["__main__"]
    found = {
        "folder": os.getcwd(),
        "arguments": sys.argv,
        "variables": {n: v for n, v in os.environ.items() if not n.startswith(OWN)},
        "signals": [str(signal.getsignal(n)).split(" at ")[0] for n in (2, 13, 15, 17)],
        "path": [one for one in sys.path if one],
        "main": str(getattr(main, "__file__", None)),
        "session": os.getsid(0) == os.getsid(os.getpgid(0)),
        "limits": sorted(os.sched_getaffinity(0)),
        "input": os.readlink("/proc/self/fd/0"),
    }
    Path(os.environ["FOUND"]).write_text(json.dumps(found))

# Of each run, of interpreters that start cold, and what readline sets for processes.
OWN = ("PYTEST_", "XDG_", "TMPDIR", "FOUND", "PYTHON", "LC_", "LANG", "COLUMNS", "LINES")
"""


def verdicts(ran: Miniature) -> list[tuple[Any, ...]]:
    """Return the verdict on each criterion, without times and paths."""
    keys = ("id", "outcome", "cause", "falsification", "message", "falsifiers")
    return [tuple(verdict[key] for key in keys) for verdict in ran.run["criteria"]]


def journal(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the sealed journal."""
    text = (folder / "reports/latest/data/journal.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def bundles(folder: Path) -> list[str]:
    """Return the names of the bundles under reports/."""
    return [path.name for path in (folder / "reports").glob("2*") if path.is_dir()]


def test_two_processes_give_the_verdicts_of_one(run_gates: Run, tmp_path: Path) -> None:
    """Outcome, cause, proof and message of every criterion are the same, and so is the status."""
    alone = run_gates(SOUND + MIXED, FIVE)
    together = run_gates(SOUND + MIXED, FIVE, *TWO)
    assert {row[1] for row in verdicts(alone)} == {
        *("pass", "fail", "inconclusive", "error", "notapplicable")
    }
    assert verdicts(together) == verdicts(alone)
    assert (together.exit_status, together.run["reasons"]) == (103, alone.run["reasons"])
    assert alone.exit_status == 103
    assert len(bundles(tmp_path)) == 2, "one bundle a run"


def test_two_processes_write_one_journal_and_one_bundle(run_gates: Run, tmp_path: Path) -> None:
    """Each process has its own server and sequence numbers, and the merged bundle verifies."""
    ran = run_gates(PROVEN.format(falsifiers=falsifier(), claim=CLAIM), ("MIN-01",), *TWO)
    assert ran.exit_status == 0, ran.output
    assert ran.verdict("MIN-01")["falsification"] == "proven"
    assert len(bundles(tmp_path)) == 1
    records = journal(tmp_path)
    assert {record["writer"] for record in records} == {"gw0", "gw1", "run"}
    numbers = [(record["writer"], record["seq"]) for record in records]
    assert len(numbers) == len(set(numbers))
    seen = [one for one in records if one.get("part") == "bring-up"]
    servers = [one["data"]["how"] for one in seen if one["probe"] == "environment"]
    started = [how for how in servers if how.startswith("started at")]
    assert len(started) == len(set(started)) == 2, servers
    bundle = tmp_path / "reports" / "latest"
    done = run_command([*GATEPROOF, "verify", "--require-released", str(bundle)], folder=bundle)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("checks", "ids", "message"),
    [
        (SOUND, ("MIN-01", "MIN-02"), "got no check for MIN-02"),
        (SOUND + SOUND.replace("sound", "other"), ("MIN-01",), "already has a check"),
        (SOUND + "\ndef test_stray():\n    pass\n", ("MIN-01",), "got no criterion"),
        (SOUND, ("MIN-01", "MIN-01"), "MIN-01"),
    ],
    ids=["no-check", "two-checks", "no-criterion", "duplicate-id"],
)
def test_bad_input_is_reported_once_by_two_processes(
    run_gates: Run, tmp_path: Path, checks: str, ids: tuple[str, ...], message: str
) -> None:
    """An error that each process finds is reported on one line: exit status 4, no file written."""
    refused(run_gates(checks, ids, *TWO), tmp_path, message)


@pytest.mark.parametrize("status", [0, 3])
def test_process_that_dies_is_a_harness_defect(run_gates: Run, tmp_path: Path, status: int) -> None:
    """A check that exits its process, even with 0, never passes; the bundle names the process."""
    ran = run_gates(SOUND + DIES.format(status=status), ("MIN-01", "MIN-02"), *TWO)
    assert ran.exit_status == 103, ran.output
    assert ran.judged("MIN-01") == ("pass", None)
    assert ran.judged("MIN-02")[0] == "notchecked"
    lost = [reason for reason in ran.run["reasons"] if "ended without a result" in reason]
    assert len(lost) == 1, ran.run["reasons"]
    assert len(bundles(tmp_path)) == 1
    done = run_command([*GATEPROOF, "verify", "reports/latest"], folder=tmp_path)
    assert done.returncode == 0, done.stdout


def test_forked_worker_is_as_one_that_is_started(
    write_gates: Callable[..., None], tmp_path: Path
) -> None:
    """Arguments, variables, signals, search path and streams are the same, so tests may use it."""
    write_gates(DESCRIBES_ITSELF)
    command = [*COMMAND, *NO_PROOFS, "-n", "1"]
    for run, name in ((run_command, "forked"), (run_piped, "started")):
        done = run(command, folder=tmp_path, env={"FOUND": str(tmp_path / name)})
        assert done.returncode == 100, done.stdout
    found = {
        name: json.loads((tmp_path / name).read_text(encoding="utf-8"))
        for name in ("forked", "started")
    }
    assert found["forked"] == found["started"]
