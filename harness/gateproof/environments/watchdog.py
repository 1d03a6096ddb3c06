"""The watchdog: a small process that outlives a run and removes what it left behind.

It holds the reading end of a pipe whose writing end only the run has. However the run ends, also by
SIGKILL, the pipe breaks, and the watchdog removes what carries the run's label. A run that cleaned
up says so first, and the watchdog goes without a look.
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
        # In a session of its own: what is sent to the run's group must not end its watchdog.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "gateproof.environments.watchdog", str(folder)],
            cwd="/",
            # Without the label of a run that this one may be part of: the watchdog outlives both.
            env={name: value for name, value in os.environ.items() if name != LABEL},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Say that the run cleaned up itself."""
        self._child.communicate(DONE)


def watch(folder: Path) -> None:
    """Wait until the pipe breaks; clean up unless the run said that it had."""
    if sys.stdin.read().strip() != DONE:
        remove(folder)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
