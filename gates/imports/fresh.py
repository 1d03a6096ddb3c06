"""Run a fresh interpreter in the system's environment, and return what an import does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.probes.process import ProcessProbe
from harness.sut import Sut

PROGRAM = Path(__file__).with_name("interpreter.py")


def modules_of(sut: Sut) -> list[str]:
    """Return the modules that a worker starts from: its own, and that of the app."""
    return list(dict.fromkeys((sut.celery.worker_module, sut.celery.app.partition(":")[0])))


def import_in_fresh_interpreter(
    commands: ProcessProbe, sut: Sut, *, dsn: Sequence[str] = (), service: bool = False
) -> Mapping[str, Any]:
    """Import the system's modules in a separate interpreter and return its report.

    Args:
        commands: runs it.
        sut: whose modules.
        dsn: variables that hold a DSN; all others of the system's are unset.
        service: whether anything listens at that DSN.

    """
    asked = {
        "modules": modules_of(sut),
        "app": sut.celery.app,
        "dsn": list(dsn),
        "service": service,
    }
    program = PROGRAM.read_text(encoding="utf-8")
    command = [*sut.fill(["{python}"]), "-c", program, json.dumps(asked)]
    done = commands.run(command, env={}, folder=sut.folder)
    lines = done.output.splitlines() or ["it printed nothing"]
    assert done.exit_status == 0, (
        f"fresh interpreter: got exit {done.exit_status}, expected 0: {lines[-1]}"
    )
    # What the modules themselves print on import stands before the answer.
    start = max(number for number, line in enumerate(lines) if line == "{")
    told: Mapping[str, Any] = json.loads("\n".join(lines[start:]))
    return told


def assert_imported(told: Mapping[str, Any], *, how: str) -> None:
    """Every module was imported; what one raised is the message."""
    for module, origin in told["modules"].items():
        assert not origin.startswith("raised "), (
            f"import of {module} {how}: got {origin.removeprefix('raised ')}, expected none raised"
        )
