"""Keep which process serves the mock servers of a base port, and allow one command at a time.

A process is known by its id and its time of start: after it ended, another one can get its id.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from system.errors import MocksError


@dataclass(frozen=True, kw_only=True)
class Record:
    """The process that serves."""

    pid: int
    started: float
    """When the process began, in seconds since 1970, as the machine reports it."""
    dynamic: bool
    domains: tuple[str, ...]

    def process(self) -> psutil.Process | None:
        """Return the process; None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started) < 1.0
            runs = is_same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if runs else None


@dataclass(frozen=True)
class Records:
    """The folder with the record of one base port: the record, a lock, and the output."""

    folder: Path

    @classmethod
    def of(cls, base_port: int) -> Records:
        """Return those of a base port of this account; `XDG_STATE_HOME` has them."""
        home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return cls(Path(home).expanduser() / "system-mocks" / str(base_port))

    @property
    def log(self) -> Path:
        """The output of the process."""
        return self.folder / "output.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other command changes the record.

        Raises:
            MocksError: the folder cannot be written.

        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise MocksError(
                f"record: got {error.strerror} for {self.folder}, expected a folder that can be "
                "written: set XDG_STATE_HOME"
            ) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> Record | None:
        """Return the record; None if there is none that can be read."""
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            return Record(**{**content, "domains": tuple(content["domains"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, record: Record) -> None:
        """Replace the record as a whole."""
        whole = self._file.with_suffix(".new")
        whole.write_text(json.dumps(asdict(record)), encoding="utf-8")
        whole.replace(self._file)

    def remove(self) -> None:
        """Remove the record."""
        self._file.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self.folder / "process.json"
