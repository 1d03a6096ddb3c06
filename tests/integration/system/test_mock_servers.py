"""Mock servers with real Prism, where Node and Prism are installed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from system.mocks.installation import Installation
from system.mocks.servers import DOMAINS

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(
    Installation().node is None or not Installation().is_current,
    reason="make setup could not install Node or Prism",
)


class Mocks:
    """The command with a base port and records of its own."""

    def __init__(self, state: Path) -> None:
        self._env = {**os.environ, "XDG_STATE_HOME": str(state)}
        self.port = _nine_free_ports()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a subcommand."""
        command = [sys.executable, "-m", "system.mocks", *words, "--base-port", str(self.port)]
        return subprocess.run(
            command, cwd=ROOT, env=self._env, capture_output=True, text=True, check=False
        )

    def read(self, *words: str) -> dict[str, Any]:
        """Return what a subcommand prints as JSON."""
        done = self.run(*words, "--json")
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def get(self, offset: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Return status and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port + offset, timeout=20)
        with closing(connection):
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


def _nine_free_ports() -> int:
    """Return a port with eight free ones after it."""
    for base in range(20000 + os.getpid() % 9000, 65000, 9):
        with suppress(OSError):
            for port in range(base, base + len(DOMAINS)):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
    raise AssertionError("no nine free ports in a row")


def _runs(pid: int) -> bool:
    """Return whether a process runs; the init process may take a while to reap one that ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def mocks(tmp_path: Path) -> Iterator[Mocks]:
    """Return the command; what it started is stopped."""
    found = Mocks(tmp_path)
    yield found
    found.run("stop")


def test_all_answer_after_the_start_and_nothing_is_left_after_the_stop(mocks: Mocks) -> None:
    """Start returns when each answers; stop ends the process and frees the ports."""
    started = mocks.read("start")
    assert [one["domain"] for one in started["servers"] if one["answers"]] == list(DOMAINS)
    assert mocks.get(4, "/health") == (200, '{"status":"ok","broker":"ok","database":"ok"}')
    assert mocks.read("status") == started
    assert mocks.read("stop") == {"stopped": True}
    assert not _runs(started["pid"])
    assert [one["answers"] for one in mocks.read("status")["servers"]] == [False] * 9
    assert mocks.read("stop") == {"stopped": False}


def test_generated_bodies_differ_from_the_examples(mocks: Mocks) -> None:
    """In dynamic mode, and by a header in static mode, a body is generated from its schema."""
    mocks.run("start", "--only", "health")
    generated = json.loads(mocks.get(4, "/health", {"Prefer": "dynamic=true"})[1])
    assert generated["status"] in {"ok", "unhealthy"}
    assert mocks.run("start", "--only", "health", "--dynamic").returncode == 1
    mocks.run("stop")
    assert mocks.read("start", "--only", "health", "--dynamic")["dynamic"] is True
    assert json.loads(mocks.get(4, "/health")[1])["database"] in {"ok", "error"}


def test_two_starts_at_once_start_one_process(mocks: Mocks) -> None:
    """The second start finds the servers of the first."""
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: mocks.read("start", "--only", "auth"), range(2)))
    assert found[0]["pid"] == found[1]["pid"] is not None


def test_killed_process_is_replaced_by_the_next_start(mocks: Mocks) -> None:
    """A record of a process that was killed blocks neither start nor stop."""
    first = mocks.read("start", "--only", "health")["pid"]
    os.kill(first, signal.SIGKILL)
    assert mocks.read("status")["pid"] is None
    second = mocks.read("start", "--only", "health")["pid"]
    assert second != first
    os.kill(second, signal.SIGKILL)
    assert mocks.run("stop").returncode == 0
    assert mocks.read("status")["pid"] is None


def test_taken_port_is_named_and_nothing_is_started(mocks: Mocks) -> None:
    """The message names port and domain; no other server is left running."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", mocks.port + 4))
        listener.listen()
        done = mocks.run("start")
    assert done.returncode == 1
    assert f"port: got {mocks.port + 4} (health), on which another process" in done.stderr
    assert mocks.read("status")["pid"] is None


def test_server_that_does_not_answer_in_time_is_named_and_stopped(mocks: Mocks) -> None:
    """A deadline that is too short leaves no process."""
    done = mocks.run("start", "--only", "export", "--deadline", "0.01")
    assert done.returncode == 1
    assert f"got no answer from {mocks.port + 3} (export) in 0.01 s" in done.stderr
    assert mocks.read("status")["pid"] is None
