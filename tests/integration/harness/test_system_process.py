"""Processes that a `[[process]]` describes: start, requests and end, with a real program."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof.base.errors import InconclusiveError, NotReadyError
from gateproof.stack.bring_up import BringUp
from gateproof.stack.stack import Stack
from tests.integration.harness.conftest import BringUps

PROGRAM = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.path.encode()
        self.send_response(200 if self.path == "/ready" else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(202)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

print("secret", (Path(os.environ["KEYS"]) / "key").read_text(), file=sys.stderr, flush=True)
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

DESCRIBED = """
name = "small"
root = "."
sources = ["web.py"]

[[process]]
name = "web"
command = ["{python}", "web.py"]
port = "PORT"
env = { KEYS = "{folder}" }
files = { key = "hidden-in-a-file" }
ready = "/ready"

[[process.request]]
name = "echo"
path = "/echo/{unique}"
body = "{unique}"

[[process.request]]
name = "signed"
sample = ["{python}", "-c", "print('{{\\"path\\": \\"/signed\\", \\"body\\": \\"x\\"}}')"]

[[process]]
name = "broken"
command = ["{python}", "-c", "raise SystemExit('no such thing')"]
port = "PORT"
health = "/health"
"""


@pytest.fixture
def small(tmp_path: Path, bring_up: BringUps) -> tuple[BringUp, Stack]:
    """A system of one web server, and its stack."""
    (tmp_path / "web.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "sut.toml").write_text(DESCRIBED, encoding="utf-8")
    made = bring_up(tmp_path / "sut.toml")
    return made, made.shared()


def test_process_answers_and_ends_by_its_signal(small: tuple[BringUp, Stack]) -> None:
    """It gets its port and files, answers requests, and leaves no process and no file."""
    _, stack = small
    with stack.running_process("web") as web:
        assert web.get("/ready").body == "/ready"
        folder = web.folder
        assert folder is not None
        assert (folder / "key").read_text() == "hidden-in-a-file"
        assert web.remaining() == ()
        assert web.stop() == -15
        assert web.get("/ready").status == 0
    assert not folder.exists()


def test_samples_of_a_request_differ_and_can_come_from_a_command(
    small: tuple[BringUp, Stack],
) -> None:
    """`{unique}` is the same within a request and different in the next."""
    _, stack = small
    with stack.running_process("web") as web:
        echo, signed = web.described.request
        first, second = web.sample(echo), web.sample(echo)
        assert first.path == f"/echo/{first.content.decode()}" != second.path
        assert web.send(first).body == first.content.decode()
        assert (web.sample(signed).path, web.sample(signed).content) == ("/signed", b"x")


def test_output_of_a_process_is_recorded_without_its_secrets(
    small: tuple[BringUp, Stack],
) -> None:
    """Standard error is in the captures, and the content of a file is redacted there."""
    _, stack = small
    with stack.running_process("web") as web:
        lines = web.lines()
    assert any(line.startswith("secret ") for line in lines.lines)
    assert lines.redactions


def test_process_that_is_not_ready_shows_the_end_of_its_output(
    small: tuple[BringUp, Stack],
) -> None:
    """The message has its exit status and its last line; it is no violation of the system."""
    _, stack = small
    with (
        pytest.raises(NotReadyError, match=r"broken: got exit 1 at /health.*no such thing"),
        stack.running_process("broken"),
    ):
        pass


def test_process_that_is_not_described_is_inconclusive(small: tuple[BringUp, Stack]) -> None:
    """The message has the nearest names."""
    _, stack = small
    with pytest.raises(InconclusiveError, match=r"got wbe, expected one of sut\.toml such as web"):
        stack.start_process("wbe")
