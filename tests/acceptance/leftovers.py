"""Kills whole runs at different moments and counts what is left of them a minute later.

``python -m tests.acceptance.leftovers --kills 20`` does it for the closing note of a release; the
test beside it does three. A run is killed with SIGKILL, so that nothing of its own can clean up.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gates.taxonomy.miniature import COMMAND, write_miniature
from harness.leftovers import PREFIX, processes_of
from harness.sut import load_sut
from harness.wait import wait_until

ROOT = Path(__file__).parents[2]
GONE_WITHIN_S = 60.0
LONGEST_S = 6.0
"""Kills are spread from the start of a run up to this moment, when its check long since runs."""

BUSY = """
@criterion("MIN-01")
def test_busy(own_stack):
    for _ in range(1000):
        worker = own_stack.start_worker()
        own_stack.wait_ready(worker)
        own_stack.sql.query("SELECT 1")
        worker.dispose()
"""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What one killed run left."""

    after_s: float
    processes_before: int
    """How many processes of the run there were at the moment of the kill."""
    processes_left: int
    folders_left: int


def kill_run(after_s: float) -> Kill:
    """Start a run, kill it outright after a while, and count what is left a minute later."""
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        folder, scratch = Path(name), Path(name) / "t"
        scratch.mkdir(mode=0o711)
        folder.chmod(0o711)
        sut = load_sut(ROOT / "system" / "sut.toml")
        write_miniature(sut, folder, checks=BUSY, ids=("MIN-01",), worker_env={})
        child = subprocess.Popen(
            [*COMMAND, "--no-falsify"],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(scratch)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        moment = time.monotonic() + after_s
        wait_until(lambda: time.monotonic() >= moment, deadline_s=after_s + 1, interval_s=0.01)
        before = _belonging(scratch)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        left = wait_until(
            lambda: _belonging(scratch) + _folders(scratch),
            lambda count: count == 0,
            deadline_s=GONE_WITHIN_S,
        )
        folders = _folders(scratch)
        return Kill(
            after_s=after_s,
            processes_before=before,
            processes_left=left - folders,
            folders_left=folders,
        )


def moments(kills: int) -> list[float]:
    """Return the moments of the kills, evenly spread."""
    return [round(LONGEST_S * (number + 1) / kills, 2) for number in range(kills)]


def _belonging(scratch: Path) -> int:
    return sum(len(processes_of(folder)) for folder in scratch.glob(f"{PREFIX}*"))


def _folders(scratch: Path) -> int:
    return len(list(scratch.glob(f"{PREFIX}*")))


def main() -> int:
    """Kill runs, print a line each, and exit with 1 when anything was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many runs (default: 20)")
    kills = [kill_run(moment) for moment in moments(parser.parse_args().kills)]
    for kill in kills:
        sys.stdout.write(
            f"killed after {kill.after_s:5.2f} s: {kill.processes_before:2d} processes then, "
            f"{kill.processes_left} processes and {kill.folders_left} folders left\n"
        )
    left = sum(kill.processes_left + kill.folders_left for kill in kills)
    sys.stdout.write(f"{len(kills)} kills, {left} left\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
