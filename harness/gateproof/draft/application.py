"""Imports the app of a system in its own interpreter and returns what it declares."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateproof.environments.cause import cause_of
from gateproof.guest import program
from gateproof_evidence.errors import BadInputError

DEADLINE_S = 60
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""Variables of the caller that the import gets; the others would differ on the next machine."""


class AppTask(BaseModel):
    """One task of the app."""

    model_config = ConfigDict(frozen=True)

    queue: str
    key: str = ""
    """The routing key of its messages; empty if it is not known."""
    signature: str
    module: str


class App(BaseModel):
    """The declarations of a Celery app."""

    model_config = ConfigDict(frozen=True)

    broker: str
    """The scheme of its URL."""
    transport: str = ""
    """The class that carries its messages, ``module:Class``; empty if it is not known."""
    visibility_timeout_s: float | None = None
    """Seconds until a message of a killed worker comes back; None if the transport has no such
    option."""
    result_backend: str
    pool: str
    eager: bool
    default_queue: str
    tasks: dict[str, AppTask]
    beat: Annotated[dict[str, str], Field(default_factory=dict)]
    """Maps entries of the schedule to names of tasks."""


def inspect_app(target: str, *, python: str, root: Path, env: Mapping[str, str]) -> App:
    """Import an app and return what it declares.

    Args:
        target: ``module:attribute`` of the app.
        python: the interpreter of the system.
        root: the folder in which it is imported.
        env: variables of the system.

    Raises:
        BadInputError: it does not import; the message has the last line of its traceback and the
            place in the system's code.

    """
    try:
        done = subprocess.run(
            [python, "-c", program("inspector"), target],
            cwd=root,
            env={name: os.environ[name] for name in KEPT if name in os.environ} | dict(env),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadInputError(
            f"{target}: import: got no end within {DEADLINE_S} s, expected the app; it may wait "
            "for a service, so name what it needs with --env NAME=VALUE"
        ) from error
    except OSError as error:
        raise BadInputError(
            f"{python}: interpreter: cannot be run ({error.strerror}); name another with --python"
        ) from error
    if done.returncode != 0:
        raise BadInputError(
            f"{target}: import: {_cause(done.stderr, root)}; repair it, or set what it needs with "
            "--env NAME=VALUE"
        )
    return App.model_validate(json.loads(done.stdout.strip().splitlines()[-1]))


def _cause(errors: str, root: Path) -> str:
    """Return the exception of a traceback and the last place in the system's own code."""
    places = [line.strip() for line in errors.splitlines() if line.startswith('  File "')]
    own = [line for line in places if str(root) in line and "site-packages" not in line]
    place = (own or places or [""])[-1].replace(f"{root}/", "")
    return f"got {cause_of(errors)}" + (f" at {place}" if place else "")
