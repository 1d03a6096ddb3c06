"""Starts pytest for the two parts of a mutation run, and follows its results.

Owns the command lines. pytest's output is kept in a file of the run's folder, and quoted if it
fails.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateproof.base.errors import EnvironmentProblemError, HarnessError
from gateproof.base.wait import wait_until
from gateproof.proof.mutation.mutant import Status
from gateproof.proof.mutation.store import Plan, Store, Todo, write
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.judging.result import ENVIRONMENT

OUTPUT = "output.log"
EVIDENCE = "evidence"
EVERY_S = 15.0
"""The least time between two lines of progress, in seconds."""
POLL_S = 0.5
END_S = 60.0
"""How long pytest has to stop the system after an interrupt, in seconds."""
LAST_LINES = 15
USAGE = 4
"""pytest's exit status for bad input."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """The options of pytest."""

    gates: Path
    sut: Path
    environment: str
    processes: int
    arguments: tuple[str, ...]
    folder: Path
    """The working folder."""
    lock: int
    """The descriptor of the lock, which pytest keeps too: it may live longer than this process."""

    def command(self, store: Store, *, processes: int) -> list[str]:
        """Return the command line.

        Args:
            store: the folder of the run.
            processes: how many judge; 0 for the process itself.

        """
        parallel = ["-n", str(processes)]
        if processes:
            parallel += ["--dist", "load", "--maxschedchunk", "1"]
        return [
            sys.executable,
            *("-m", "pytest", str(self.gates), *parallel, "-q", "-p", "no:cacheprovider"),
            *("--sut", str(self.sut), "--environment", self.environment),
            *("--falsify", "none", "--no-watch", "--mutation", str(store.folder)),
            *("--evidence-out", str(store.folder / EVIDENCE)),
            *self.arguments,
        ]


def plan(call: Call, store: Store) -> Plan:
    """Run the process that plans, and return the plan.

    Raises:
        BadInputError: the description or the gates are not valid.
        EnvironmentProblemError: the system does not start.
        HarnessError: pytest failed in another way.

    """
    with _pytest(call, store, processes=0) as process:
        status = process.wait()
    found = store.plan() if status == 0 else None
    if found is None:
        raise _failure(status, store)
    return found


def judge(call: Call, store: Store, todo: Todo, *, progress: Callable[[str], None]) -> None:
    """Run the processes that judge, until all mutants have a result or the time is over.

    Raises:
        HarnessError: pytest failed.

    """
    write(store.todo_path, todo)
    processes = min(call.processes, len(todo.tasks))
    wanted = {one.mutant.id for one in todo.tasks}
    with _pytest(call, store, processes=processes) as process:
        for line in _progress(process, store, wanted):
            progress(line)
        status = process.wait()
    if status != 0:
        raise _failure(status, store)


@contextmanager
def _pytest(call: Call, store: Store, *, processes: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start pytest; interrupt it if the block ends before it does."""
    store.folder.mkdir(parents=True, exist_ok=True)
    with (store.folder / OUTPUT).open("wb") as output:
        process = subprocess.Popen(
            call.command(store, processes=processes),
            cwd=call.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(call.lock,),
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt pytest, so that it stops what it started; then end it."""
    if process.poll() is not None:
        return
    # To all its processes, as a terminal does. A shell may have made them ignore SIGINT.
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _progress(process: subprocess.Popen[bytes], store: Store, wanted: set[str]) -> Iterator[str]:
    """Yield a line now and then while pytest runs."""
    began = printed = time.monotonic()
    while process.poll() is None:
        wait_until(lambda: process.poll() is not None, deadline_s=POLL_S)
        now = time.monotonic()
        if now - printed < EVERY_S:
            continue
        printed = now
        found = {one.mutant: one.status for one in store.outcomes()}
        counts = Counter(status for name, status in found.items() if name in wanted)
        done = counts.total()
        if done:
            left_s = (now - began) / done * (len(wanted) - done)
            yield (
                f"{done} of {len(wanted)} mutants: {counts[Status.KILLED]} killed, "
                f"{counts[Status.SURVIVED]} survived, {counts[Status.VOID]} void; about "
                f"{left_s / 60:.0f} min left"
            )


def _failure(status: int, store: Store) -> Exception:
    """Return the error of a process of pytest, with the end of its output."""
    path = store.folder / OUTPUT
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    text = f"pytest ended with {status}; the end of {path}:\n" + "\n".join(lines)
    if status == USAGE:
        return BadInputError(text)
    return EnvironmentProblemError(text) if status == ENVIRONMENT else HarnessError(text)
