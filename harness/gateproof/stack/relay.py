"""Controls a relay that runs next to the system's processes."""

from __future__ import annotations

import json
import queue
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateproof.base.errors import HarnessError
from gateproof.environments.interface import Address, Conversation, Launcher
from gateproof.guest import program

ANSWER_DEADLINE_S = 15.0


@dataclass
class Relay:
    """A running relay; its first mode is `pass`."""

    conversation: Conversation
    host: str
    mode: str = "pass"
    port: int = 0
    _answers: queue.Queue[str] = field(default_factory=queue.Queue)

    @classmethod
    def start(cls, launcher: Launcher, target: Address, *, folder: Path) -> Relay:
        """Start a relay.

        Args:
            launcher: runs it next to the system's processes.
            target: the address to which it connects.
            folder: its working folder.

        Raises:
            HarnessError: the relay gave no answer.

        """
        command = [sys.executable, "-c", program("relay"), target.host, str(target.port)]
        conversation = launcher.converse(command, env={}, folder=folder)
        relay = cls(conversation, launcher.host_of(conversation))
        threading.Thread(target=relay._listen, daemon=True).start()
        relay.set_mode("pass")
        return relay

    @property
    def address(self) -> Address:
        """The address for the system's processes."""
        return Address(host=self.host, port=self.port)

    def set_mode(self, mode: str) -> dict[str, Any]:
        """Switch it to a mode, and return its counts since the last switch.

        Raises:
            HarnessError: the relay gave no answer.

        """
        try:
            self.conversation.stdin.write(f"{mode}\n")
            self.conversation.stdin.flush()
            answer: dict[str, Any] = json.loads(self._answers.get(timeout=ANSWER_DEADLINE_S))
        except (OSError, queue.Empty, ValueError) as error:
            last = (self.conversation.stderr().strip().splitlines() or ["nothing"])[-1]
            raise HarnessError(f"relay: got {last}, expected an answer to {mode!r}") from error
        self.mode, self.port = mode, int(answer["port"])
        return answer

    def stop(self) -> None:
        """Stop it."""
        self.conversation.dispose()

    def _listen(self) -> None:
        for line in self.conversation.stdout:
            self._answers.put(line)
        self._answers.put("")
