"""The process probe: runs a command to its end and records its output."""

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
    """Runs commands with a launcher."""

    def __init__(
        self, recorder: Recorder, launcher: Launcher, *, env: Mapping[str, str] | None = None
    ) -> None:
        """Create a probe.

        Args:
            recorder: records what it sees.
            launcher: starts the commands.
            env: variables of every command, which those of one command override.

        """
        self._recorder = recorder
        self._env = dict(env or {})
        self._launcher = launcher
        self.last_redactions: tuple[Redaction, ...] = ()
        """The redactions in the capture of the last command."""

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        deadline_s: float = DEADLINE_S,
    ) -> Completed:
        """Run a command and return its result; the caller judges the exit status.

        Args:
            command: its words; they run without a shell.
            env: its variables, in addition to the few that every process gets.
            folder: its working folder.
            deadline_s: after how many seconds the command is killed.

        Raises:
            NotReadyError: it was killed at the deadline. The machine may be the reason, so the
                result cannot be judged.

        """
        env = {**self._env, **env}
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
                f"command {shown}: got no exit within {deadline_s:g} s, expected one; its capture "
                "has its output until then, and a busy machine may need more time"
            )
        return done


def _words(line: Redacted, command: Sequence[str]) -> list[str]:
    """Return the words of a command after redaction of the whole line.

    Redacted word by word, ``--password`` and the secret after it would both look harmless.
    """
    if not line.redactions:
        return list(command)
    try:
        return shlex.split(line.text)
    except ValueError:  # a quote was redacted together with a secret
        return [line.text]
