"""Finds and removes what a run leaves behind when it cannot clean up itself.

Every process that a run starts has the run's label in its environment. PostgreSQL overwrites the
memory of its environment; its processes are found by their working folder. Nothing else is touched.
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
"""Environment variable of every process of a run; its value is the run's folder."""

PREFIX = "gp-"
ENGINE_MARK = "engine"
"""File in the folder of a run that used a container engine."""

LOCK = "gateproof.lock"
END_DEADLINE_S = 20.0
ENGINE_DEADLINE_S = 60.0
QUIET_SCANS, SCAN_INTERVAL_S = 4, 0.5
"""An engine finishes requests even if the client was killed: on an idle machine a network appears
up to 0.15 s later, and a container that is still being created cannot be removed yet."""


T = TypeVar("T")


def new_folder() -> Path:
    """Create the folder of a run, which an unprivileged account can enter."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)
    return folder


def acquire_lock(folder: Path) -> IO[str]:
    """Acquire the lock of an active run; closing the file or exiting releases it."""
    lock = (folder / LOCK).open("w", encoding="utf-8")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def is_active(folder: Path) -> bool:
    """Return whether the run of a folder is still active."""
    try:
        with (folder / LOCK).open("r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def abandoned_folders() -> list[Path]:
    """Return the folders of this user's runs that ended without cleaning up."""
    own = [
        path
        for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
        if path.is_dir() and not path.is_symlink() and path.lstat().st_uid == os.getuid()
    ]
    return sorted(path for path in own if (path / LOCK).exists() and not is_active(path))


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes of a run's folder, without zombies."""
    return [process for process in psutil.process_iter() if _belongs(process, folder)]


def remove(folder: Path) -> int:
    """Remove a run's folder with all that belongs to it; return how many processes were killed.

    PostgreSQL gets SIGQUIT first: with SIGKILL it would leave shared memory behind. Containers,
    volumes and networks of the run are labelled with the folder's name.

    Raises:
        EnvironmentProblemError: the engine refused; the folder is kept for a retry.

    """
    found = processes_of(folder)
    for process in found:
        _query(partial(_end, process), None)
    for process in wait_until(
        lambda: processes_of(folder), lambda left: not left, deadline_s=END_DEADLINE_S / 2
    ):
        _query(process.kill, None)
    wait_until(lambda: processes_of(folder), lambda left: not left, deadline_s=END_DEADLINE_S / 2)
    if (folder / ENGINE_MARK).exists():
        _clear_engine(folder.name)
    shutil.rmtree(folder, ignore_errors=True)
    return len(found)


def session_of(leader: int) -> Iterator[psutil.Process]:
    """Yield the processes of a session, its leader first.

    A process id is not reused while a session has it, so no other process can be among them.
    """
    members = [pid for pid in psutil.pids() if _session(pid) == leader]
    for pid in sorted(members, key=lambda pid: pid != leader):
        try:
            yield psutil.Process(pid)
        except psutil.NoSuchProcess:
            continue


def _clear_engine(run: str) -> None:
    """Remove the objects of an abandoned run from the engine, until no new ones appear.

    Raises:
        EnvironmentProblemError: objects are left, or the engine still refuses.

    """
    from gateproof.environments.engine import (
        Engine,  # imported only here: its libraries are slow
    )

    with closing(Engine(run=run)) as engine:
        quiet = 0

        def scan() -> int:
            nonlocal quiet
            try:
                quiet = 0 if engine.remove_all() else quiet + 1
            except EnvironmentProblemError:
                quiet = 0
            return quiet

        done = wait_until(
            scan,
            lambda scans: scans >= QUIET_SCANS,
            deadline_s=ENGINE_DEADLINE_S,
            interval_s=SCAN_INTERVAL_S,
        )
        if done < QUIET_SCANS and (left := engine.remove_all()):
            raise EnvironmentProblemError(
                f"clean-up of {run}: got {left} more objects on the engine after "
                f"{ENGINE_DEADLINE_S:g} s, expected none; run gateproof clean again"
            )


def _belongs(process: psutil.Process, folder: Path) -> bool:
    if process.pid == os.getpid() or _query(process.status, "") in ("", psutil.STATUS_ZOMBIE):
        return False
    environment: dict[str, str] = _query(process.environ, {})
    if environment.get(LABEL) == str(folder):
        return True
    if _query(process.name, "") != "postgres":  # it overwrites the memory of its environment
        return False
    working_folder = _query(process.cwd, "")
    return Path(working_folder).is_relative_to(folder) if working_folder else False


def _end(process: psutil.Process) -> None:
    is_postgres = process.name() == "postgres"
    process.send_signal(signal.SIGQUIT if is_postgres else signal.SIGKILL)


def _query(question: Callable[[], T], default: T) -> T:
    """Return a property of a process, or a default if it has exited or belongs to another user."""
    try:
        return question()
    except (psutil.Error, OSError):
        return default


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
