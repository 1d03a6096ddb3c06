"""The fault kind `command`: a shell script that starts the system's other processes.

It stands between the harness and the command of each `[[process]]`, in any language: it can keep a
signal from the command, leave a process behind, or delay the start. The evidence that it landed is
the words that start a process.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateproof.faults.interface import Fault
from gateproof.stack.system_process import scripted

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy

INERT = 'exec "$@"'


@dataclass(frozen=True, kw_only=True)
class CommandFault(Fault):
    """A script that starts described processes."""

    kind = "command"
    restarts = True

    script: str

    def describe(self) -> str:
        """Return the script."""
        return f"start other processes by: {self.script}"

    def change_inertly(self, copy: Copy) -> str:
        """Start processes by a script that does nothing but run the command."""
        copy.stack.start_by(INERT)
        return f"start other processes by: {INERT}"

    def fingerprint(self, copy: Copy) -> str:
        """Return the words that start each process, and a digest of them."""
        words = [
            f"{one.name}: {shlex.join(scripted(copy.stack.script, one.command))}"
            for one in copy.sut.processes
        ]
        digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
        return f"sha256:{digest} {' | '.join(words)}"

    def inject(self, copy: Copy) -> None:
        """Stop the processes, and start those that follow by the script."""
        copy.stack.start_by(self.script)


def command(name: str, script: str, *, only_embedded: bool = False) -> CommandFault:
    """Break a claim by how the system's other processes are started.

    Args:
        name: a slug.
        script: a script of ``sh``; ``"$@"`` in it is the command of the process.
        only_embedded: whether the fault shows only where processes are children of this machine: a
            container ends all that its first process has started.

    """
    environments = frozenset({"embedded"} if only_embedded else {"embedded", "containers"})
    return CommandFault(name=name, script=script, environments=environments)
