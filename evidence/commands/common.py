"""What the commands share: exit statuses, paths, reading, the console.

Source: spec, "Exit status".
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console

from evidence import consistency
from evidence.canonical import JsonError, read_json
from evidence.errors import BadInputError
from evidence.model import Run

WHOLE, FINDINGS, BAD_INPUT = 0, 1, 4
"""Exit statuses of every command."""

PATH = click.Path(path_type=Path)


def console() -> Console:
    """Return a console as wide as the terminal, or 120 columns where there is none."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def read_file(path: Path, what: str) -> bytes:
    """Read a file that the user named.

    Raises:
        BadInputError: it cannot be read; `what` says what it was named as.

    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{path}: {what}: got {error.strerror}, expected a readable file; name another"
        ) from error


def read_run(bundle: Path) -> Run:
    """Read the run of a bundle, without verifying it.

    Raises:
        BadInputError: the folder holds no run.json that can be read.

    """
    path = bundle / consistency.RUN
    content = read_file(path, "bundle")
    try:
        return Run.model_validate(read_json(content))
    except (JsonError, ValidationError) as error:
        raise BadInputError(
            f"{path}: run: got {error}, expected the run.json of a sealed bundle; "
            "gateproof verify says more"
        ) from error
