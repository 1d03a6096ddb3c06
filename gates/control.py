"""Commands of Celery's own command line, and programs that use the system's app."""

from __future__ import annotations

from gateproof import Completed, Stack

ANSWER_TIMEOUT_S = "10"
"""How long the command waits for the worker's answer. It ends with the answer, because it knows
whose answer it waits for; a command to all workers waits for the whole time."""

NODE = "asked@gate"
NAMED = (f"--hostname={NODE}",)
"""Options of the worker that gets the commands: its node name."""


def celery(stack: Stack, group: str, *words: str) -> Completed:
    """Run a remote-control command of Celery for the worker that was started with `NAMED`.

    Args:
        stack: the stack of the worker.
        group: ``inspect`` or ``control``.
        words: the command, followed by its arguments.

    """
    command = [*stack.sut.fill(["{python}", "-m", "celery"]), "--app", stack.sut.celery.app]
    return stack.process.run(
        [*command, group, "--timeout", ANSWER_TIMEOUT_S, "--destination", NODE, *words],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )


# Import the described app, whose name is the first argument.
_APP = """
import importlib, sys
module, _, attribute = sys.argv.pop(1).partition(":")
app = getattr(importlib.import_module(module), attribute)
"""


def run_with_app(stack: Stack, program: str, *words: str) -> Completed:
    """Run a program in the system's interpreter that uses the described app as `app`.

    Args:
        stack: the stack of the system.
        program: the text of the program, which has imported `sys` and `app`.
        words: its arguments.

    """
    command = [*stack.sut.fill(["{python}", "-c"]), _APP + program, stack.sut.celery.app, *words]
    return stack.process.run(command, env=stack.worker_environment(), folder=stack.sut.folder)
