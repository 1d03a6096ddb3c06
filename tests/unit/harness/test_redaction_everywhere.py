"""Every kind of secret in every kind of capture: planted through the real ways of writing."""

from __future__ import annotations

import base64
import datetime as dt
import html
import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest

from gateproof.environments.interface import Completed
from gateproof.probes.file import FileProbe
from gateproof.probes.http import HttpProbe
from gateproof.probes.log import read_log
from gateproof.probes.process import ProcessProbe
from gateproof.probes.recorder import Recorder, Scope
from gateproof.probes.sql import Session
from gateproof.probes.task import TaskProbe
from gateproof.proof.proof import tell_story
from gateproof.run.stage import record_phase
from gateproof_evidence.format.journal import Journal, read_journal
from gateproof_evidence.model import Observation, PhaseEvent, ProofEvent
from gateproof_evidence.redaction.redactor import Redactor
from tests.planted import KINDS, Kind

Plant = Callable[["Desk", Kind], None]


class Here:
    """Runs commands on this machine."""

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, deadline_s: float
    ) -> Completed:
        """Run a command to its end."""
        done = subprocess.run(
            command,
            env=dict(env),
            cwd=folder,
            timeout=deadline_s,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return Completed(command=tuple(command), exit_status=done.returncode, output=done.stdout)


class Told:
    """A publisher that answers as it was told to, one line after the other."""

    def __init__(self, *answers: Mapping[str, Any]) -> None:
        self.stdin = io.StringIO()
        self.stdout = io.StringIO("".join(f"{json.dumps(one)}\n" for one in answers))

    def complaint(self) -> str:
        """Say nothing."""
        return ""

    def dispose(self) -> None:
        """Have nothing to end."""


class Desk:
    """What a capture needs: a folder, a recorder, a server that says what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tests").mkdir(parents=True)
        self.redactor = Redactor()
        self.journal = Journal(
            folder / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC)
        )
        self.recorder = Recorder(self.journal, self.redactor, folder)
        self.answer: tuple[dict[str, str], str] = ({}, "")
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers, body = desk.answer
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        serve = {"poll_interval": 0.01}
        threading.Thread(target=self.server.serve_forever, kwargs=serve, daemon=True).start()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def written(self) -> str:
        """Return everything that was written, raw and decoded."""
        text = "\n".join(
            path.read_text(errors="replace")
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        )
        return "\n".join([text, *_decoded(text)])

    def close(self) -> None:
        """End the server and the journal."""
        self.server.shutdown()
        self.server.server_close()
        self.journal.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Give a desk for one capture."""
    made = Desk(tmp_path / "data")
    yield made
    made.close()


def _http(desk: Desk, kind: Kind) -> None:
    """As a header of the request and of the answer, and in a body of JSON and of text."""
    name, _, value = kind.line.removeprefix("> ").partition(": ")
    if "\n" in kind.line or " " in name:
        name, value = "X-Note", " ".join(kind.line.splitlines())
    held = kind.secret if kind.bare else kind.line
    desk.answer = ({name: value}, json.dumps({"said": kind.line, kind.column: held}))
    HttpProbe(desk.recorder).request("GET", f"{desk.url}/a?b=c", headers={name: value})
    desk.answer = ({}, kind.line)
    HttpProbe(desk.recorder).get(desk.url)


def _sql(desk: Desk, kind: Kind) -> None:
    """As a value in a row, a column of its own, a parameter and a refusal."""
    columns = ("id", "said", kind.column if kind.bare else "said_too")
    held = kind.secret if kind.bare else kind.line
    rows = [(1, kind.line, held), (2, None, None)]
    connection: Any = SimpleNamespace(
        info=SimpleNamespace(dbname="app"),
        execute=lambda *_: SimpleNamespace(
            description=[SimpleNamespace(name=name) for name in columns], fetchall=lambda: rows
        ),
    )
    session = Session(connection, desk.recorder, "app_user")
    assert session.query("SELECT %s", (kind.line,)).rows[0][1] == kind.line, "the check sees it"
    session.query(f"SELECT 1 -- {kind.line}".replace("\n", " "))


def _logs(desk: Desk, kind: Kind) -> None:
    """As a line, and as a field of a JSON line."""
    entry = {"level": "info", "message": kind.line, "extra": {kind.column: kind.secret}}
    if not kind.bare:
        entry["extra"] = kind.line
    read = read_log(desk.recorder, "worker", f"starting\n{kind.line}\n{json.dumps(entry)}\n")
    assert any(kind.secret in line for line in read.lines), "the check sees it"


def _process(desk: Desk, kind: Kind) -> None:
    """As what a process prints, on a line and in the form of a literal."""
    _run(desk, f"print({kind.line!r}); print([{kind.line!r}])")


def _command(desk: Desk, kind: Kind) -> None:
    """As words of a command: what gives a secret away may be the word before it."""
    name = f"--{kind.column.replace('_', '-')}"
    _run(desk, "pass", "--", *((name, kind.secret) if kind.bare else (kind.line,)))


def _tasks(desk: Desk, kind: Kind) -> None:
    """As an argument of a task, as what it returned, and in what a publisher refused."""
    held = {kind.column: kind.secret, "said": kind.line} if kind.bare else {"said": kind.line}
    error = {"type": "OperationalError", "message": kind.line}
    probe = TaskProbe(
        desk.recorder,
        Told({"task_id": "1", "eager": False}, {"state": "SUCCESS", "value": held, "timed_out": 0}),
        prefix="app.",
    )
    assert probe.run("app.ping", held).value == held, "the check sees it"
    refusing = TaskProbe(desk.recorder, Told({"error": error}), prefix="app.")
    with pytest.raises(AssertionError, match="OperationalError"):
        refusing.publish("app.ping", [held])


def _traceback(desk: Desk, kind: Kind) -> None:
    """As the message of an exception that nobody catches, and in the line that raised it."""
    _run(desk, f"raise RuntimeError({kind.line!r}) from ValueError([{kind.line!r}])")


def _environment(desk: Desk, kind: Kind) -> None:
    """As a variable, as env prints it and as Python shows its environment."""
    name, value = kind.variable
    script = "import os; print(*map('='.join, os.environ.items()), sep='\\n'); print(os.environ)"
    _run(desk, script, env={name: value, "ALL": kind.line})


def _file(desk: Desk, kind: Kind) -> None:
    """As a line of a file."""
    project = desk.folder.parent / "project"
    project.mkdir()
    (project / "settings").write_text(f"a = 1\n{kind.line}\n")
    FileProbe(desk.recorder, project).read("settings")


def _phase(desk: Desk, kind: Kind) -> None:
    """As the message of a check's own failure, in the journal."""

    def fail() -> None:
        raise AssertionError(f"got {kind.line}, expected nothing")

    call = pytest.CallInfo.from_call(fail, when="call")
    alive: Any = SimpleNamespace(still_answers=lambda: True)
    record_phase(desk.recorder, alive, call, item="t.py::test")


CAPTURES = {
    "http": _http,
    "sql": _sql,
    "logs": _logs,
    "process": _process,
    "command": _command,
    "tasks": _tasks,
    "traceback": _traceback,
    "environment": _environment,
    "file": _file,
    "phase": _phase,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("capture", CAPTURES)
def test_secret_of_each_kind_is_in_no_capture(desk: Desk, kind: Kind, capture: str) -> None:
    """Whatever a system lets out, what is written holds none of it, raw or decoded."""
    CAPTURES[capture](desk, kind)
    written = desk.written()
    assert not _found(kind, written)
    first_line_only = capture == "phase" and kind.name == "private-key"
    assert first_line_only or "[redacted:" in written


def _cut_statement(desk: Desk, text: str) -> None:
    connection: Any = SimpleNamespace(
        info=SimpleNamespace(dbname="app"),
        execute=lambda *_: SimpleNamespace(description=None, rowcount=0),
    )
    Session(connection, desk.recorder, "app_user").query(text)


def _cut_answer_of_a_task(desk: Desk, text: str) -> None:
    answer = {"state": "SUCCESS", "value": text, "timed_out": False}
    TaskProbe(desk.recorder, Told(answer), prefix="app.").result("1")


def _cut_command(desk: Desk, text: str) -> None:
    _run(desk, "print('password=nobodys-1')", text)


def _cut_bytes(desk: Desk, text: str) -> None:
    HttpProbe(desk.recorder).raw(desk.url, text.encode())


def _cut_message(desk: Desk, text: str) -> None:
    def fail() -> None:
        raise AssertionError(text)

    call = pytest.CallInfo.from_call(fail, when="call")
    alive: Any = SimpleNamespace(still_answers=lambda: True)
    record_phase(desk.recorder, alive, call, item="t.py::test")


def _cut_story(desk: Desk, text: str) -> None:
    def fail() -> None:
        raise AssertionError(text)

    copy: Any = SimpleNamespace()
    fault: Any = SimpleNamespace(
        name="f", kind="sql", prepare=lambda _: None, describe=lambda: "DROP POLICY p ON t"
    )
    told: dict[str, Any] = {"recorder": desk.recorder, "copy": copy, "again": False}
    with desk.recorder.on_behalf_of(Scope(part="proof:f", item="t", criterion="RLS-01")):
        tell_story(ProofEvent, fault, "got", fail, criterion="RLS-01", **told)


@pytest.mark.parametrize(
    ("capture", "limit"),
    [
        (_cut_statement, 120),
        (_cut_answer_of_a_task, 120),
        (_cut_answer_of_a_task, 20_000),
        (_cut_command, 400),
        (_cut_bytes, 2_000),
        (_cut_message, 4_000),
        (_cut_story, 4_000),
    ],
)
def test_secret_is_taken_out_before_a_text_is_cut(
    desk: Desk, capture: Callable[[Desk, str], None], limit: int
) -> None:
    """Half a secret has no form that gives it away: wherever a text is cut, it held none before."""
    secret = "r4bbit-hole-9-of-the-broker"
    dsn = f"amqp://worker:{secret}@mq.example.org:5672/prod"
    for before in range(limit - len(dsn) - 60, limit, 7):
        capture(desk, f"{'x' * before} {dsn}")
    written = desk.written()
    assert "[redacted:" in written
    assert secret[:6] not in written
    told = read_journal([desk.journal.path])
    words = [one.message for one in told if isinstance(one, PhaseEvent)]
    words += [one.baseline for one in told if isinstance(one, ProofEvent)]
    words += [one.summary for one in told if isinstance(one, Observation)]
    assert max(len(one) for one in words) <= 4_000, "a megabyte of words does not reach it"


def test_secret_of_each_kind_is_in_no_report_of_pytest(desk: Desk) -> None:
    """As an assertion, a local, a print and a log record of a test, in JUnit and pytest-html."""
    for path in _reports(desk):
        plain = "\n".join(_decoded(path.read_text()))
        assert all(_found(kind, plain) for kind in KINDS), "premise: they were written"
        desk.redactor.redact_file(path)
        counted = [one.count for one in desk.redactor.ledger if one.place == path.name]
        assert sum(counted) >= len(KINDS), path.name
    written = desk.written()
    assert [kind.name for kind in KINDS if _found(kind, written)] == []


def _reports(desk: Desk) -> list[Path]:
    """Return what pytest's reporters write about one test for each kind."""
    project = desk.folder.parent / "tests"
    project.mkdir()
    (project / "test_it.py").write_text(
        "import logging\nimport pytest\n\n"
        f"@pytest.mark.parametrize('number', range({len(KINDS)}))\n"
        "def test_it(number):\n"
        f"    said = {[kind.line for kind in KINDS]!r}[number]\n    print(said)\n"
        "    logging.error('saw %s', said)\n    assert [said] == []\n"
    )
    reports = [desk.folder / "tests" / name for name in ("junit.xml", "pytest.html")]
    command = [sys.executable, "-m", "pytest", "-q", "-l", "-p", "no:gateproof", "-p", "no:xdist"]
    command += [f"--junitxml={reports[0]}", f"--html={reports[1]}", "--self-contained-html"]
    command += ["-o", "junit_logging=all", "--rootdir", str(project), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return reports


def _run(desk: Desk, script: str, *words: str, env: Mapping[str, str] | None = None) -> None:
    """Run a script that reads from a file, so that its command line holds nothing but words."""
    path = desk.folder.parent / "script.py"
    path.write_text(script)
    probe = ProcessProbe(desk.recorder, Here())  # type: ignore[arg-type] # run is all it needs
    probe.run([sys.executable, str(path), *words], env=env or {}, folder=desk.folder.parent)
    assert probe.last_redactions


def _found(kind: Kind, text: str) -> bool:
    return kind.secret in text


def _decoded(text: str) -> Iterator[str]:
    """Give a text without the escapes of markup, JSON, URLs and base64."""
    plain = html.unescape(html.unescape(text))
    yield plain
    yield unquote(plain)
    yield plain.replace("\\\\", "\\").replace('\\"', '"').replace("\\n", "\n")
    for run in re.findall(r"[A-Za-z0-9+/_-]{12,}={0,2}", plain):
        urlsafe = run.rstrip("=").replace("+", "-").replace("/", "_")
        padded = urlsafe[: len(urlsafe) // 4 * 4]
        yield base64.urlsafe_b64decode(padded).decode("utf-8", "replace")
