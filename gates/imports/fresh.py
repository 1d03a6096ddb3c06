"""An import of the system's modules in a fresh interpreter, and a record of what it did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateproof import Completed, ProcessProbe, Sut, claim, premise

RAISED = "raised "
"""Begins the report of a module whose import raised an exception."""
SETTINGS = "settings of the app"
PROGRAM = Path(__file__).with_name("interpreter.py")


def modules_of(sut: Sut) -> list[str]:
    """Return the modules that a worker starts from: the worker's module and the app's."""
    return list(dict.fromkeys((sut.celery.worker_module, sut.celery.app.partition(":")[0])))


def import_in_fresh_interpreter(
    commands: ProcessProbe,
    sut: Sut,
    *,
    dsn: Sequence[str] = (),
    service: bool = False,
    bare: bool = False,
) -> Mapping[str, Any]:
    """Import the system's modules in a fresh interpreter and return its report.

    Args:
        commands: the probe that runs the interpreter.
        sut: the system whose modules are imported.
        dsn: variables that hold a DSN; all other variables of the system are unset.
        service: whether anything listens at the address in that DSN.
        bare: whether only the described variables are set: no home, no path, no language.

    """
    request = {
        "modules": modules_of(sut),
        "app": sut.celery.app,
        "dsn": list(dsn),
        "service": service,
        "keep": sorted(sut.env) if bare else None,
    }
    program = PROGRAM.read_text(encoding="utf-8")
    command = [*sut.fill(["{python}"]), "-c", program, json.dumps(request)]
    done = commands.run(command, env={}, folder=sut.folder)
    premise("exit status and error of a fresh interpreter", got=_end(done), expected=(0, ""))
    lines = done.output.splitlines()
    # The report follows any output of the modules themselves.
    start = max(number for number, line in enumerate(lines) if line == "{")
    report: Mapping[str, Any] = json.loads("\n".join(lines[start:]))
    return report


def _end(done: Completed) -> tuple[int, str]:
    return done.exit_status, done.cause if done.exit_status else ""


def _settings(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the exception of the app's settings under their name, if there is one."""
    return {SETTINGS: report["app"]} if "app" in report else {}


def claim_imported(report: Mapping[str, Any], *, how: str) -> bool:
    """Claim that the import of every module, and of the settings of the app, raised nothing.

    Returns:
        Whether all of that holds.

    """
    held = [
        claim(
            "exception of the import",
            on=f"{module}/{how}",
            got=origin.removeprefix(RAISED) if origin.startswith(RAISED) else "none",
            expected="none",
        )
        for module, origin in {**report["modules"], **_settings(report)}.items()
    ]
    return all(held)
