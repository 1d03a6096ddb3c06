"""The watchdog: a small process that outlives a run and removes its leftovers.

It holds the reading end of a pipe, and only the run has the writing end. When the run ends in any
way, even by SIGKILL, the pipe closes, and the watchdog removes everything with the run's label. A
run that cleaned up itself reports that through the pipe, and the watchdog exits at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gateproof.environments.leftover import LABEL, remove

DONE = "done"


class Watchdog:
    """The run's end of the pipe.

    Args:
        folder: the run's folder, which is also its label.

    """

    def __init__(self, folder: Path) -> None:
        # In its own session: a signal to the process group of the run must not end the watchdog.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "gateproof.environments.watchdog", str(folder)],
            cwd="/",
            # Without the label of an outer run that started this one: the watchdog outlives both.
            env={name: value for name, value in os.environ.items() if name != LABEL},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Report that the run has cleaned up, and wait until the watchdog exits."""
        self._child.communicate(DONE)


def watch(folder: Path) -> None:
    """Wait until the pipe closes; clean up unless the run reported that it has."""
    if sys.stdin.read().strip() != DONE:
        remove(folder)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
