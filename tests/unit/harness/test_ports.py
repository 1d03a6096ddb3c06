"""Free ports: each is given to one process only, also before anything listens there."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from gateproof.base.errors import EnvironmentProblemError
from gateproof.environments import postgres
from gateproof.environments.postgres import LOOPBACK, MOST_HELD, free_port

ASK = """
import sys
from gateproof.environments.postgres import free_port
print(*(free_port() for _ in range(200)), flush=True)
sys.stdin.readline()
"""


def test_processes_get_different_ports() -> None:
    """Four processes take 800 ports while nothing listens: no port is given twice.

    Without a reservation, about eight of them are.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    given: list[str] = []
    for process in processes:
        assert process.stdout is not None
        given += process.stdout.readline().split()
    for process in processes:
        process.communicate("\n", timeout=30)
    assert len(given) == 800
    assert len(set(given)) == 800


def test_port_that_another_process_holds_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """If every free port is held, the message says that none was found."""
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind((LOOPBACK, 0))
        held = other.getsockname()[1]

        class Probe(socket.socket):
            """A socket that reports the port that is held as the one that the system chose.

            It is not bound to it: another process may use the TCP port of that number.
            """

            def getsockname(self) -> tuple[str, int]:
                return (LOOPBACK, held)

        monkeypatch.setattr("socket.socket", Probe)
        with pytest.raises(EnvironmentProblemError, match=r"free port on .*: got none"):
            free_port()


def test_number_of_held_ports_is_limited() -> None:
    """Each held port takes a descriptor, so the oldest is released."""
    for _ in range(MOST_HELD + 5):
        free_port()
    assert len(postgres._HELD) == MOST_HELD
