"""What a run leaves behind when it cannot clean up itself, and how that is found and removed.

Every process that a run starts carries the run's label in its environment, or works in the run's
folder: PostgreSQL overwrites the memory in which its environment was. Nothing else is touched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import psutil

from gateproof.base.errors import EnvironmentProblemError
from gateproof.base.wait import wait_until

LABEL = "GATEPROOF_RUN"
"""Environment variable that every process of a run has; its value is the run's folder."""

PREFIX = "gp-"
ENGINE_MARK = "engine"
"""File in the folder of a run that started something on a container engine."""

LOCK = "gateproof.lock"
END_DEADLINE_S = 20.0
ENGINE_DEADLINE_S = 60.0
QUIET_LOOKS, LOOK_S = 4, 0.5
"""An engine goes on with what it was asked, also by one who was killed since: a network comes up to
0.15 s later on an idle machine, and a container that only half exists refuses to go."""


T = TypeVar("T")


def new_folder() -> Path:
    """Make the folder of a run, which an unprivileged account can enter."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)
    return folder


def hold(folder: Path) -> IO[str]:
    """Take the lock that tells a live run; it is held until the file is closed or we end."""
    lock = (folder / LOCK).open("w", encoding="utf-8")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def is_live(folder: Path) -> bool:
    """Tell whether the run of a folder still goes on."""
    try:
        with (folder / LOCK).open("r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def dead_folders() -> list[Path]:
    """Return the folders of runs of this user that ended without cleaning up."""
    own = [
        path
        for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
        if path.is_dir() and not path.is_symlink() and path.lstat().st_uid == os.getuid()
    ]
    return sorted(path for path in own if (path / LOCK).exists() and not is_live(path))


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes that belong to a run's folder and still do anything."""
    return [process for process in psutil.process_iter() if _belongs(process, folder)]


def remove(folder: Path) -> int:
    """End what belongs to a folder and remove it; returns how many processes were ended.

    PostgreSQL is asked to quit first: killed outright, it would leave shared memory behind. What a
    run has on a container engine is labelled with the folder's name.

    Raises:
        EnvironmentProblemError: the engine refused; the folder is kept, for another try.

    """
    found = processes_of(folder)
    for process in found:
        _ask(partial(_end, process), None)
    for process in wait_until(
        lambda: processes_of(folder), lambda left: not left, deadline_s=END_DEADLINE_S / 2
    ):
        _ask(process.kill, None)
    wait_until(lambda: processes_of(folder), lambda left: not left, deadline_s=END_DEADLINE_S / 2)
    if (folder / ENGINE_MARK).exists():
        _clear_engine(folder.name)
    shutil.rmtree(folder, ignore_errors=True)
    return len(found)


def session_of(leader: int) -> Iterator[psutil.Process]:
    """Yield the processes of a session, its leader first.

    A number stays taken while a session has it, so no stranger can be among them.
    """
    members = [pid for pid in psutil.pids() if _session(pid) == leader]
    for pid in sorted(members, key=lambda pid: pid != leader):
        try:
            yield psutil.Process(pid)
        except psutil.NoSuchProcess:
            continue


def _clear_engine(run: str) -> None:
    """Remove what a dead run has on the engine until nothing more has come for a while.

    Raises:
        EnvironmentProblemError: something is still there, or the engine refused to the end.

    """
    from gateproof.environments.engine import (
        Engine,  # (only here: its libraries are slow)
    )

    with closing(Engine(run=run)) as engine:
        quiet = 0

        def look() -> int:
            nonlocal quiet
            try:
                quiet = 0 if engine.remove_all() else quiet + 1
            except EnvironmentProblemError:
                quiet = 0
            return quiet

        done = wait_until(
            look,
            lambda looks: looks >= QUIET_LOOKS,
            deadline_s=ENGINE_DEADLINE_S,
            interval_s=LOOK_S,
        )
        if done < QUIET_LOOKS and (left := engine.remove_all()):
            raise EnvironmentProblemError(
                f"clean-up of {run}: got {left} more things on the engine after "
                f"{ENGINE_DEADLINE_S:g} s, expected none; run gateproof clean again"
            )


def _belongs(process: psutil.Process, folder: Path) -> bool:
    if process.pid == os.getpid() or _ask(process.status, "") in ("", psutil.STATUS_ZOMBIE):
        return False
    environment: dict[str, str] = _ask(process.environ, {})
    if environment.get(LABEL) == str(folder):
        return True
    if _ask(process.name, "") != "postgres":  # it overwrites the memory of its environment
        return False
    place = _ask(process.cwd, "")
    return Path(place).is_relative_to(folder) if place else False


def _end(process: psutil.Process) -> None:
    quits = process.name() == "postgres"
    process.send_signal(signal.SIGQUIT if quits else signal.SIGKILL)


def _ask(question: Callable[[], T], otherwise: T) -> T:
    """Return what a process says, or something else where it has ended or is not ours."""
    try:
        return question()
    except (psutil.Error, OSError):
        return otherwise


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
