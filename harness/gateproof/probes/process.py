"""The process probe: runs a command to its end and keeps what it printed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateproof.base.errors import NotReadyError
from gateproof.environments.interface import Completed, Launcher
from gateproof.probes.recorder import Recorder, encodable
from gateproof_evidence.model import Redaction
from gateproof_evidence.redaction.redactor import Redacted

DEADLINE_S = 60.0


class ProcessProbe:
    """Runs commands where the system lives."""

    def __init__(self, recorder: Recorder, launcher: Launcher) -> None:
        self._recorder = recorder
        self._launcher = launcher
        self.last_redactions: tuple[Redaction, ...] = ()
        """What had to be taken out of the capture of the last command."""

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        deadline_s: float = DEADLINE_S,
    ) -> Completed:
        """Run a command; its exit status is for the caller to judge.

        Args:
            command: its words; no shell reads them.
            env: its environment, beside the few variables that every process gets.
            folder: its working folder.
            deadline_s: past it the command is killed.

        Raises:
            NotReadyError: it was killed at the deadline: that says as much of the machine as of the
                command, so it is no answer to judge.

        """
        done = self._launcher.run(command, env=env, folder=folder, deadline_s=deadline_s)
        line = self._recorder.redactor.redact(encodable(shlex.join(command)))
        shown = line.text if len(line.text) < 400 else line.text[:400] + " ..."
        observation = self._recorder.observe(
            "process",
            f"{shown} -> exit {done.exit_status}",
            data={
                "command": _words(line, command)[:20],
                "exit_status": done.exit_status,
                "variables": sorted(env),
            },
            text=f"$ {shown}\n{done.output}\n[exit {done.exit_status}]\n",
            taken=line.redactions,
        )
        self.last_redactions = observation.redactions
        if done.out_of_time:
            raise NotReadyError(
                f"command {shown}: got no end within {deadline_s:g} s, expected one; its capture "
                "has what it printed until then, and a busy machine may need more time"
            )
        return done


def _words(line: Redacted, command: Sequence[str]) -> list[str]:
    """Return the words of a command as its redacted line has them.

    Word by word ``--password`` and what follows it would both look harmless.
    """
    if not line.redactions:
        return list(command)
    try:
        return shlex.split(line.text)
    except ValueError:  # a quote went with a secret
        return [line.text]
