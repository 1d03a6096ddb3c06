"""Kill whole runs at different moments and count what is left of them a minute later.

``python -m tests.acceptance.leftovers --kills 20`` does it for the closing note of a release, once
for each environment; test_leftovers.py kills three. A run is killed with SIGKILL, so that it cannot
clean up. Only resources of that run are counted, since other runs may be active at the same time.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateproof.base.errors import EnvironmentProblemError
from gateproof.base.wait import wait_until
from gateproof.description.reading import load_sut
from gateproof.environments.engine import RUN_LABEL, Engine, find_engine
from gateproof.environments.leftover import PREFIX, processes_of
from gates.taxonomy.miniature import COMMAND, write_miniature

ROOT = Path(__file__).parents[2]
EMBEDDED, CONTAINERS = "embedded", "containers"
GONE_WITHIN_S = 60.0
STAYS_GONE_S = 3.0
"""An engine may finish a request of a run late, so the count must stay zero for this long."""

CHECK_WITHIN_S = 180.0
"""The time from the start of a run to that of its check; the first may have to build the image."""

WHILE_CHECKING_S = 3.0
"""Kills in the check are spread over this time: in containers a worker starts and stops in it."""

MARK = "checking"
LITTER = "import tempfile; tempfile.mkdtemp(); tempfile.mkstemp()"
"""A program of the system that does not clean up."""

BUSY = f"""
from pathlib import Path

@criterion("MIN-01")
def test_busy(own_stack, commands, sut):
    commands.run([sys.executable, "-c", {LITTER!r}], env={{}}, folder=sut.folder)
    Path({MARK!r}).touch()
    for _ in range(1000):
        worker = own_stack.start_worker()
        own_stack.wait_ready(worker)
        claim("answer", got=own_stack.sql.query("SELECT 1").scalar(), expected=1)
        worker.dispose()
"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The number of resources of a run."""

    processes: int
    """Processes on this machine, without those inside containers."""
    files: int
    """Entries of the temporary folder and of the home, pytest's own base folder excepted."""
    containers: int = 0
    networks: int = 0
    volumes: int = 0

    @property
    def total(self) -> int:
        """The sum of all counts."""
        return self.processes + self.files + self.containers + self.networks + self.volumes

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in vars(self).items())


@dataclass(frozen=True, kw_only=True)
class Kill:
    """The resources of one killed run, before and after the kill."""

    environment: str
    after_s: float
    checking: bool
    """Whether its check had started."""
    before: Counts
    """At the moment of the kill."""
    left: Counts
    """A minute later, or as soon as nothing was left and stayed so."""


class Run:
    """One run of a check that never ends.

    Args:
        environment: where it runs.
        folder: an empty folder for its files.

    """

    def __init__(self, environment: str, folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._scratch = folder / "t"
        self._scratch.mkdir(mode=0o711)
        self._home = folder / "home"
        self._home.mkdir()
        folder.chmod(0o711)
        self._names: set[str] = set()
        sut = load_sut(ROOT / "system" / "sut.toml")
        write_miniature(sut, folder, checks=BUSY, ids=("MIN-01",))
        self._started = time.monotonic()
        self._child = subprocess.Popen(
            [*COMMAND, "--no-falsify", "--environment", environment],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(self._scratch), "HOME": str(self._home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def age_s(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._started

    @property
    def checking(self) -> bool:
        """Whether its check has started."""
        return (self._folder / MARK).exists()

    def kill(self) -> None:
        """Kill its process group with SIGKILL."""
        os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def count(self) -> Counts:
        """Count its resources now, also those of a folder that has been removed since."""
        folders = list(self._scratch.glob(f"{PREFIX}*"))
        self._names |= {folder.name for folder in folders}
        return Counts(
            processes=sum(len(processes_of(folder)) for folder in folders),
            files=len(entries(self._scratch)) + len(entries(self._home)),
            **(self._on_engine() if self._environment == CONTAINERS else {}),
        )

    def _on_engine(self) -> dict[str, int]:
        """Count by the label of each run. Asks the engine, not the code that cleans up."""
        counts = dict.fromkeys(("containers", "networks", "volumes"), 0)
        for name in self._names:
            with closing(Engine(run=name)) as engine:
                label = {"label": f"{RUN_LABEL}={name}"}
                client = engine.client
                found = client.containers.list(all=True, filters=label, sparse=True)
                counts["containers"] += len(found)
                counts["networks"] += len(client.networks.list(filters=label))
                counts["volumes"] += len(client.volumes.list(filters=label))
        return counts


def entries(folder: Path) -> set[str]:
    """Return the names in a folder that a run may write to, without pytest's own base folder."""
    return {path.name for path in folder.iterdir() if not path.name.startswith("pytest-of-")}


def kill_run(environment: str, *, after_s: float, into_check: bool) -> Kill:
    """Start a run, kill it with SIGKILL, and count what is left within a minute.

    Args:
        environment: where it runs.
        after_s: the time of the kill, in seconds.
        into_check: whether that time starts with the check, or else with the run.

    """
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        run = Run(environment, Path(name))
        if into_check:
            wait_until(lambda: run.checking, deadline_s=CHECK_WITHIN_S, interval_s=0.01)
        moment = after_s + (run.age_s if into_check else 0.0)
        wait_until(lambda: run.age_s >= moment, deadline_s=after_s + 1, interval_s=0.01)
        before, checking, age_s = run.count(), run.checking, run.age_s
        run.kill()
        left = count_leftovers(run)
        return Kill(
            environment=environment, after_s=age_s, checking=checking, before=before, left=left
        )


def count_leftovers(run: Run) -> Counts:
    """Count until the count has been zero for a while, or a minute has passed."""
    counts, zero_since = run.count(), time.monotonic()

    def zero_for_s() -> float:
        nonlocal counts, zero_since
        counts = run.count()
        if counts.total:
            zero_since = time.monotonic()
        return time.monotonic() - zero_since

    wait_until(zero_for_s, lambda s: s >= STAYS_GONE_S, deadline_s=GONE_WITHIN_S, interval_s=0.2)
    return counts


def kill_runs(environment: str, kills: int) -> Iterator[Kill]:
    """Kill runs: half of them spread over the check, the others over the time before it.

    The first is killed when its check starts. It measures that time on this machine.
    """
    checking = max(1, (kills + 1) // 2)
    first = kill_run(environment, after_s=0.0, into_check=True)
    yield first
    for moment in moments(checking - 1, longest_s=WHILE_CHECKING_S):
        yield kill_run(environment, after_s=moment, into_check=True)
    for moment in moments(kills - checking, longest_s=first.after_s):
        yield kill_run(environment, after_s=moment, into_check=False)


def moments(kills: int, *, longest_s: float) -> list[float]:
    """Return the moments of the kills, evenly spread, without the start and the end."""
    return [round(longest_s * (number + 1) / (kills + 1), 2) for number in range(kills)]


def environments() -> tuple[str, ...]:
    """Return the environments that this machine has."""
    try:
        find_engine()
    except EnvironmentProblemError:
        return (EMBEDDED,)
    return (EMBEDDED, CONTAINERS)


def describe(kill: Kill) -> str:
    """Return one line about a kill."""
    when = "in its check" if kill.checking else "before its check"
    return (
        f"{kill.environment}: killed after {kill.after_s:5.2f} s, {when}, "
        f"with {kill.before}; left: {kill.left}"
    )


def main() -> int:
    """Kill runs and print a line each; return 1 when one left anything or none was in its check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=20, help="how many runs in each environment (default: 20)"
    )
    parser.add_argument(
        "--environment",
        choices=(EMBEDDED, CONTAINERS),
        help="one environment (default: both, where a container engine answers)",
    )
    asked = parser.parse_args()
    status = 0
    for environment in (asked.environment,) if asked.environment else environments():
        done = []
        for kill in kill_runs(environment, asked.kills):
            done.append(kill)
            sys.stdout.write(describe(kill) + "\n")
            sys.stdout.flush()
        left = sum(kill.left.total for kill in done)
        checking = sum(kill.checking for kill in done)
        sys.stdout.write(
            f"{environment}: {len(done)} kills, {checking} of them in the check, {left} left\n"
        )
        status |= bool(left or not checking)
    return status


if __name__ == "__main__":
    sys.exit(main())
