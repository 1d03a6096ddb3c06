"""Load modules of the harness, and changes to Celery, into the system's own processes.

Owns the folder that they are imported from and the variables that load them. The folder is on the
path of every worker, publisher and program of a stack, and can be read in containers too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateproof.guest import program

LOADER, CHANGE = "gateproof_loader", "gateproof_change"
PROBE_TASKS = "gateproof_probe_tasks"
SEARCH_PATH, CELERY_LOADER, SYSTEM_LOADER = "PYTHONPATH", "CELERY_LOADER", "GATEPROOF_LOADER"
LOAD, REPORT, PROBE_DSN = "GATEPROOF_LOAD", "GATEPROOF_REPORT", "GATEPROOF_PROBE_DSN"
PROBE_ENDS = "GATEPROOF_PROBE_ENDS"
MARK = "GATEPROOF-REPORT "
"""Begins the line with the report of `gateproof.guest.loader`."""

Entry = Mapping[str, Any]
"""One entry of the list of `gateproof.guest.loader`."""


@dataclass(frozen=True, kw_only=True)
class GuestLoad:
    """The modules of a folder, and which of them processes load."""

    files: Path
    """A folder that the system's processes can read at the same path."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Maps the name of each module to its text."""
    entries: tuple[Entry, ...] = ()
    """The entries that the loader loads, in order."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further variables of the processes."""

    def with_probe_tasks(
        self, dsn: tuple[str, ...], *, by_loader: bool, report_ends: bool
    ) -> GuestLoad:
        """Add the probe tasks.

        Args:
            dsn: names of the variables with a DSN of the worker.
            by_loader: whether the loader loads them; otherwise the command of the worker does.
            report_ends: whether workers print a line for each end of a task.

        """
        entries = (
            (*self.entries, {"module": PROBE_TASKS, "late": True}) if by_loader else self.entries
        )
        return replace(
            self,
            sources={**self.sources, PROBE_TASKS: program("probe_tasks")},
            entries=entries,
            variables={
                **self.variables,
                PROBE_DSN: ",".join(dsn),
                **({PROBE_ENDS: "1"} if report_ends else {}),
            },
        )

    def with_entry(self, entry: Entry, sources: Mapping[str, str]) -> GuestLoad:
        """Add an entry, with the modules that it needs."""
        return replace(
            self, sources={**self.sources, **sources}, entries=(*self.entries, dict(entry))
        )

    def applied(self, env: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a process with what loads the modules.

        Args:
            env: the environment.
            inherited: variables that every process has where the system runs.

        """
        if not self.sources and not self.entries:
            return dict(env)
        known = {**inherited, **env}
        path = ":".join(filter(None, (str(self._folder()), known.get(SEARCH_PATH, ""))))
        found = {**env, **self.variables, SEARCH_PATH: path}
        if self.entries:
            found[SYSTEM_LOADER] = known.get(CELERY_LOADER, "")
            found[CELERY_LOADER] = f"{LOADER}:Loader"
            found[LOAD] = json.dumps(list(self.entries))
        return found

    def _folder(self) -> Path:
        """Return the folder with the modules, which is written at its first use."""
        modules = {**self.sources, LOADER: program("loader")}
        if any("change" in entry for entry in self.entries):
            modules[CHANGE] = program("change")
        content = json.dumps(modules, sort_keys=True).encode()
        folder = self.files / f"guest-{hashlib.sha256(content).hexdigest()[:16]}"
        if not folder.exists():
            folder.mkdir()
            for name, text in modules.items():
                (folder / f"{name}.py").write_text(text, encoding="utf-8")
                (folder / f"{name}.py").chmod(0o644)
            folder.chmod(0o755)
        return folder
