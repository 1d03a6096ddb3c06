"""Detection of secrets in output, based on what redaction removed when it captured the output.

The redactor knows every password of the run in all its spellings, the password in any DSN, and
patterns of secrets that were never registered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from gateproof import Redaction, Stack

_PRINT_ENVIRONMENT = "import os; print(*os.environ.values(), sep='\\n')"


def removed_secrets(redactions: Iterable[Redaction]) -> list[str]:
    """Return the redaction rules that matched in a capture, with their counts."""
    return [f"{redaction.rule} x{redaction.count}" for redaction in redactions]


def redaction_sees_a_printed_dsn(stack: Stack) -> bool:
    """Return whether redaction matches in the output of a process that does print its DSN."""
    stack.process.run(
        [sys.executable, "-c", _PRINT_ENVIRONMENT],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
    return bool(stack.process.last_redactions)
