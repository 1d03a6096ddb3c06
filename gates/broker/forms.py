"""Publish pings with a DSN in each of its forms, and return their outcome."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.stack import Stack

PROGRAM = Path(__file__).with_name("forms_program.py")
RESULT_DEADLINE_S = 40.0
"""The deadline of a result, including the start of its worker."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of the DSN."""

    driver: str
    """The URL's scheme."""
    query: str
    awaited: bool = True
    """Whether to wait for its result; otherwise it is only published."""

    def __str__(self) -> str:
        return f"{self.driver}://...?{self.query}"

    def environment(self, stack: Stack) -> dict[str, str]:
        """Return the DSN's variables in this form."""
        how = stack.sut.worker
        dsn = stack.inner_dsn(how.role, form=self.driver)
        return dict.fromkeys(how.dsn, f"{dsn}?{self.query}")


@dataclass(frozen=True, kw_only=True)
class Told:
    """The outcome of the pings, in the order of the forms."""

    refusals: tuple[str, ...]
    """Why one was not published; empty if it was."""
    states: tuple[str, ...]
    """States of those that were waited for; none where one of them was refused."""


def publish_each(stack: Stack, forms: Sequence[Form]) -> Told:
    """Publish a ping with each form, and wait for its result with the same."""
    ping = stack.sut.ping
    asked = {
        "app": stack.sut.celery.app,
        "task": ping.task,
        "kwargs": ping.arguments,
        "deadline_s": RESULT_DEADLINE_S,
        "forms": [{"env": form.environment(stack), "awaited": form.awaited} for form in forms],
    }
    done = stack.process.run(
        [sys.executable, "-c", PROGRAM.read_text(encoding="utf-8")],
        env={**stack.worker_environment(), "FORMS": json.dumps(asked)},
        folder=stack.sut.folder,
        deadline_s=2 * RESULT_DEADLINE_S,
    )
    last = (done.output.strip().splitlines() or ["it printed nothing"])[-1]
    assert done.exit_status == 0, f"publishing in each form: got {last}, expected an answer"
    told = json.loads(last)
    return Told(
        refusals=tuple(one_line(one.get("error", "")) for one in told["published"]),
        states=tuple(one_line(one.get("state") or one["error"]) for one in told["states"]),
    )


def one_line(text: str) -> str:
    """Return a text without its line ends."""
    return " ".join(text.split())
