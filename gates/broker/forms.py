"""Pings that are published with each accepted form of the DSN, and their results."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateproof import Stack, premise

PROGRAM = Path(__file__).with_name("forms_program.py")
RESULT_DEADLINE_S = 40.0
"""How long a result may take, including the start of its worker."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One accepted form of the DSN."""

    driver: str
    """The URL's scheme."""
    query: str
    awaited: bool = True
    """Whether the check waits for the ping's result; otherwise it only publishes the ping."""

    def __str__(self) -> str:
        return f"{self.driver}://...?{self.query}"

    def environment(self, stack: Stack) -> dict[str, str]:
        """Return the environment variables of the DSN, with the DSN in this form."""
        how = stack.sut.worker
        dsn = stack.inner_dsn(how.role, form=self.driver)
        return dict.fromkeys(how.dsn, f"{dsn}?{self.query}")


@dataclass(frozen=True, kw_only=True)
class PingResults:
    """The results of the pings, each field in the order of the forms."""

    refusals: tuple[str, ...]
    """Why a ping was not published; an empty string for each ping that was."""
    states: tuple[str, ...]
    """The states of the awaited pings; empty if one of those was not published."""


def publish_each(stack: Stack, forms: Sequence[Form]) -> PingResults:
    """Publish a ping with each form of the DSN, and wait for its result with the same form."""
    ping = stack.sut.ping
    request = {
        "app": stack.sut.celery.app,
        "task": ping.task,
        "kwargs": ping.arguments,
        "deadline_s": RESULT_DEADLINE_S,
        "forms": [{"env": form.environment(stack), "awaited": form.awaited} for form in forms],
    }
    done = stack.process.run(
        [sys.executable, "-c", PROGRAM.read_text(encoding="utf-8")],
        env={**stack.worker_environment(), "FORMS": json.dumps(request)},
        folder=stack.sut.folder,
        deadline_s=2 * RESULT_DEADLINE_S,
    )
    premise("exit status of the program that publishes", got=done.exit_status, expected=0)
    answer = json.loads(done.output.strip().splitlines()[-1])
    return PingResults(
        refusals=tuple(one_line(one.get("error", "")) for one in answer["published"]),
        states=tuple(one_line(one.get("state") or one["error"]) for one in answer["states"]),
    )


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())
