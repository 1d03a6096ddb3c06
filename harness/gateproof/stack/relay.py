"""The harness's hold on a relay that runs beside the system's processes."""

from __future__ import annotations

import json
import queue
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateproof.base.errors import HarnessError
from gateproof.environments.interface import Address, Conversation, Launcher
from gateproof.guest import program

if TYPE_CHECKING:
    from gateproof.stack.stack import Stack

ANSWER_DEADLINE_S = 15.0


@dataclass
class Relay:
    """A running relay; forwards until it is told otherwise."""

    conversation: Conversation
    host: str
    mode: str = "pass"
    port: int = 0
    _answers: queue.Queue[str] = field(default_factory=queue.Queue)

    @classmethod
    def start(cls, launcher: Launcher, stack: Stack) -> Relay:
        """Start one that leads to a stack's server.

        Raises:
            HarnessError: it gave no answer.

        """
        to = stack.server.inside
        command = [sys.executable, "-c", program("relay"), to.host, str(to.port)]
        conversation = launcher.converse(command, env={}, folder=stack.sut.folder)
        relay = cls(conversation, launcher.host_of(conversation))
        threading.Thread(target=relay._listen, daemon=True).start()
        relay.tell("pass")
        return relay

    @property
    def address(self) -> Address:
        """Where the system's processes reach it."""
        return Address(host=self.host, port=self.port)

    def tell(self, mode: str) -> dict[str, Any]:
        """Have it go over to a manner, and return what it says it did since it was last told.

        Raises:
            HarnessError: it gave no answer.

        """
        try:
            self.conversation.stdin.write(f"{mode}\n")
            self.conversation.stdin.flush()
            told: dict[str, Any] = json.loads(self._answers.get(timeout=ANSWER_DEADLINE_S))
        except (OSError, queue.Empty, ValueError) as error:
            said = (self.conversation.complaint().strip().splitlines() or ["nothing"])[-1]
            raise HarnessError(f"relay: got {said}, expected an answer to {mode!r}") from error
        self.mode, self.port = mode, int(told["port"])
        return told

    def stop(self) -> None:
        """End it."""
        self.conversation.dispose()

    def _listen(self) -> None:
        for line in self.conversation.stdout:
            self._answers.put(line)
        self._answers.put("")
