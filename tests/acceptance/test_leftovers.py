"""A run leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.base.wait import wait_until
from gateproof.description.sut import Sut
from gateproof.environments.leftover import (
    LABEL,
    PREFIX,
    abandoned_folders,
    acquire_lock,
    new_folder,
    processes_of,
    remove,
)
from gates.taxonomy.miniature import COMMAND, read_miniature, write_miniature
from tests.acceptance.conftest import GATEPROOF, run_command
from tests.acceptance.leftovers import (
    BUSY,
    CONTAINERS,
    EMBEDDED,
    LITTER,
    describe,
    entries,
    environments,
    kill_runs,
)

INTERRUPTED = 2


@pytest.mark.parametrize("environment", [EMBEDDED, CONTAINERS])
def test_run_that_is_killed_leaves_nothing(environment: str) -> None:
    """A minute after SIGKILL no process, folder, container, network or volume of the run exists."""
    if environment not in environments():
        pytest.skip(f"{environment}: no container engine answers here")
    kills = list(kill_runs(environment, 3))
    report = "\n".join(describe(kill) for kill in kills)
    assert len(kills) == 3
    assert kills[0].checking, f"premise: the first kill hits the check\n{report}"
    before = kills[0].before
    if environment == CONTAINERS:
        assert min(before.containers, before.networks, before.volumes) > 0, (
            f"premise: seen\n{report}"
        )
    else:
        assert before.processes > 0, f"premise: seen\n{report}"
    assert sum(kill.left.total for kill in kills) == 0, report


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Return a folder for temporary files that an unprivileged account can enter."""
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


LITTERING = f"""
@criterion("MIN-01")
def test_littering(own_stack, commands, machine, sut):
    for place in (commands, machine):
        done = place.run([sys.executable, "-c", {LITTER!r}], env={{}}, folder=sut.folder)
        claim("exit status", got=done.exit_status, expected=0)
    worker = own_stack.start_worker()
    own_stack.wait_ready(worker)
    worker.kill()
"""


@pytest.mark.parametrize("environment", [EMBEDDED, CONTAINERS])
def test_run_leaves_no_file_outside_its_evidence(
    tmp_path: Path, scratch: Path, sut: Sut, environment: str
) -> None:
    """Temporary folder, home and project are unchanged, although programs of the run use them."""
    if environment not in environments():
        pytest.skip(f"{environment}: no container engine answers here")
    write_miniature(sut, tmp_path, checks=LITTERING, ids=("MIN-01",))
    home = scratch / "home"
    home.mkdir()
    before = {folder: entries(folder) for folder in (scratch, home, tmp_path)}
    done = run_command(
        [*COMMAND, "--no-falsify", "--environment", environment],
        folder=tmp_path,
        env={"TMPDIR": str(scratch), "HOME": str(home)},
    )
    run = read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)
    assert run.judged("MIN-01")[0] == "pass", f"premise: the check ran\n{done.stdout}"
    after = {folder: entries(folder) for folder in (scratch, home, tmp_path)}
    assert after == before | {tmp_path: before[tmp_path] | {"reports"}}


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_run_that_is_interrupted_leaves_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, scratch: Path, sut: Sut, name: str
) -> None:
    """After Ctrl-C or SIGTERM the run seals its records and ends each process that it started."""
    write_miniature(sut, tmp_path, checks=BUSY, ids=("MIN-01",))
    child = subprocess.Popen(
        # A process that a shell starts in the background ignores Ctrl-C.
        ["env", "--default-signal=INT", *COMMAND, "--no-falsify"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    request.addfinalizer(child.wait)
    request.addfinalizer(child.kill)
    folder = wait_until(lambda: next(scratch.glob(f"{PREFIX}*"), None), deadline_s=30)
    assert folder is not None
    started = wait_until(lambda: len(processes_of(folder)), lambda count: count > 5, deadline_s=60)
    assert started > 5, "premise: the server and a worker run"
    child.send_signal(signal.Signals[name])
    assert child.wait(timeout=60) == INTERRUPTED
    interrupted = read_miniature(tmp_path, exit_status=INTERRUPTED, output="")
    assert interrupted.run["exit_status"] == INTERRUPTED
    assert interrupted.run["result"] == "blocked"
    assert processes_of(folder) == []
    assert not folder.exists()


def test_clean_removes_a_dead_run_and_never_a_live_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that holds its lock is kept; one that does not is removed, with its processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    live, dead = new_folder(), new_folder()
    held = acquire_lock(live)
    acquire_lock(dead).close()
    stray = subprocess.Popen(["sleep", "600"], env={**os.environ, LABEL: str(dead)})
    visitor = subprocess.Popen(["sleep", "600"], cwd=dead)
    assert abandoned_folders() == [dead]
    done = run_command([*GATEPROOF, "clean", "--json"], folder=tmp_path)
    assert json.loads(done.stdout)["removed"] == [{"folder": str(dead), "processes": 1}]
    assert stray.wait(timeout=10) == -signal.SIGKILL
    assert visitor.poll() is None, (
        "a process that only has the folder as working directory belongs to no run"
    )
    visitor.kill()
    visitor.wait()
    assert live.exists()
    assert not dead.exists()
    held.close()
    assert remove(live) == 0
