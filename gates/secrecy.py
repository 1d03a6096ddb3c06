"""Whether output holds a secret: judged from what redaction had to take out of its capture.

The redactor knows every password of the run in all its spellings, the password in any DSN, and what
secrets look like that nobody registered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from gateproof import Redaction, Stack

_PRINT_ENVIRONMENT = "import os; print(*os.environ.values(), sep='\\n')"


def taken_out(redactions: Iterable[Redaction]) -> list[str]:
    """Return the rules that struck in a capture, with their counts; empty where nothing did."""
    return [f"{redaction.rule} x{redaction.count}" for redaction in redactions]


def redaction_sees_a_printed_dsn(stack: Stack) -> bool:
    """Tell whether redaction strikes in the output of a process that does print its DSN."""
    stack.process.run(
        [sys.executable, "-c", _PRINT_ENVIRONMENT],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
    return bool(stack.process.last_redactions)
