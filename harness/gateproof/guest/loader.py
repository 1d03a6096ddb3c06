"""A Celery loader that loads modules of the harness into a system, without a change to it.

Celery reads the variable ``CELERY_LOADER`` when an app is made, unless the app names a loader
itself. This loader is the system's own loader, and additionally imports modules and makes changes.
Runs in the system's interpreter on Python 3.8 and later; imports nothing from the harness.

Variables: ``GATEPROOF_LOADER`` names the loader of the system, if it is not Celery's default;
``GATEPROOF_LOAD`` has the JSON list of what is loaded; with ``GATEPROOF_REPORT`` a worker prints a
report and exits before it connects to its broker.

An entry of the list is a module, with ``"change"`` and ``"options"`` if it is a change to Celery,
and with ``"late"`` if the system's own tasks must be made before it is imported. A module can have
these functions, and a change these methods:

- ``early(app)``: called when the app reads its configuration first;
- ``loaded(app)``: called when the modules of the app's tasks have been imported;
- ``set_up(app, worker)``: called in a worker before it starts its pool and connects;
- ``state(app)``: returns what it changes, as JSON; called for the report.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

from celery import signals
from celery.loaders import get_loader_cls

LOADED, SYSTEM_LOADER, REPORT = "GATEPROOF_LOAD", "GATEPROOF_LOADER", "GATEPROOF_REPORT"
MARK = "GATEPROOF-REPORT "
"""Begins the line with a report."""


class Loader(get_loader_cls(os.environ.get(SYSTEM_LOADER) or "app")):  # type: ignore[misc]
    """The system's loader, which loads what the variable lists as well."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self.parts = [part_of(entry) for entry in json.loads(os.environ.get(LOADED, "[]"))]
        self.parts_are_loaded = False
        self.call("early", app)

    def import_default_modules(self) -> Any:
        """Import the modules of the system's tasks, and then load the parts once."""
        modules = super().import_default_modules()
        if not self.parts_are_loaded:
            self.parts_are_loaded = True
            # The system's own tasks first: of two tasks with one name, Celery keeps the first.
            self.app.finalize()
            self.parts = [
                (entry, importlib.import_module(entry["module"]) if entry.get("late") else part)
                for entry, part in self.parts
            ]
            self.call("loaded", self.app)
        return modules

    def init_worker(self) -> None:
        """Initialize a worker, and change it before it starts its pool."""
        if not self.worker_initialized:
            signals.worker_init.connect(self.set_up_worker, weak=False)
        super().init_worker()

    def set_up_worker(self, sender: Any, **_: Any) -> None:
        """Call the parts with the worker; print the report and exit if that is asked for."""
        self.call("set_up", self.app, sender)
        if os.environ.get(REPORT):
            print_report(self.app)
            raise SystemExit(0)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of each part that has it and is not only watched."""
        for entry, part in self.parts:
            if not entry.get("only_watched") and hasattr(part, name):
                getattr(part, name)(*arguments)


def part_of(entry: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return an entry with its module or its change; a module that is only watched is not loaded.

    A change that is only watched reports the state of what it would change. A late module is
    imported after the system's tasks are made: Celery makes the shared tasks of all modules that
    are there by then in no certain order.
    """
    if "change" not in entry and (entry.get("only_watched") or entry.get("late")):
        return entry, None
    module = importlib.import_module(entry["module"])
    if "change" not in entry:
        return entry, module
    return entry, module.CHANGES[entry["change"]](**entry.get("options", {}))


def report(app: Any) -> list[dict[str, Any]]:
    """Return each part: a module with its digest, and the state of what a part changes."""
    return [described(entry, part, app) for entry, part in app.loader.parts]


def described(entry: dict[str, Any], part: Any, app: Any) -> dict[str, Any]:
    """Return one part of the report."""
    if "change" in entry:
        return {"change": entry["change"], "state": part.state(app)}
    if part is None:
        return {"module": entry["module"], "loaded": False}
    content = Path(part.__file__).read_bytes()
    found = {
        "module": entry["module"],
        "loaded": True,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if hasattr(part, "state"):
        found["state"] = part.state(app)
    return found


def print_report(app: Any) -> None:
    """Print the report on one line without quotes: a system can wrap what is printed in JSON."""
    content = json.dumps(report(app), sort_keys=True, default=str).encode()
    os.write(1, f"\n{MARK}{base64.b64encode(zlib.compress(content)).decode()}\n".encode())
