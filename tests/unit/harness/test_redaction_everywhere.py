"""Every kind of secret in every kind of capture, written by the real probes."""

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
from gateproof.faults.falsifier import Prediction
from gateproof.faults.sql import sql
from gateproof.probes.file import FileProbe
from gateproof.probes.http import HttpProbe
from gateproof.probes.log import read_log
from gateproof.probes.process import ProcessProbe
from gateproof.probes.recorder import Recorder, Scope
from gateproof.probes.sql import Session
from gateproof.probes.task import TaskProbe
from gateproof.proof.proof import run_steps
from gateproof.run.stage import record_stage
from gateproof.stack.stack import Running
from gateproof.stack.stopwatch import Stopwatch
from gateproof_evidence.format.recording.journal import Journal, read_journal
from gateproof_evidence.model import Observation, PhaseEvent, ProofEvent
from gateproof_evidence.redaction.redactor import Redactor
from tests.planted import KINDS, Kind

Plant = Callable[["CaptureBench", Kind], None]


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


class PreparedPublisher:
    """A publisher with prepared answers, one line per request."""

    def __init__(self, *answers: Mapping[str, Any]) -> None:
        self.stdin = io.StringIO()
        self.stdout = io.StringIO("".join(f"{json.dumps(one)}\n" for one in answers))

    def stderr(self) -> str:
        """Return nothing."""
        return ""

    def dispose(self) -> None:
        """Do nothing."""


class CaptureBench:
    """The environment of a capture: a folder, a recorder, a server with a prepared answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tests").mkdir(parents=True)
        self.redactor = Redactor()
        self.journal = Journal(
            folder / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC)
        )
        self.recorder = Recorder(self.journal, self.redactor, folder)
        self.answer: tuple[dict[str, str], str] = ({}, "")
        bench = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers, body = bench.answer
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Return nothing."""

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
def bench(tmp_path: Path) -> Iterator[CaptureBench]:
    """A bench for one capture."""
    made = CaptureBench(tmp_path / "data")
    yield made
    made.close()


def _http(bench: CaptureBench, kind: Kind) -> None:
    """Put it in a header of the request and the response, and in bodies of JSON and text."""
    name, _, value = kind.line.removeprefix("> ").partition(": ")
    if "\n" in kind.line or " " in name:
        name, value = "X-Note", " ".join(kind.line.splitlines())
    held = kind.secret if kind.bare else kind.line
    bench.answer = ({name: value}, json.dumps({"message": kind.line, kind.column: held}))
    HttpProbe(bench.recorder).request("GET", f"{bench.url}/a?b=c", headers={name: value})
    bench.answer = ({}, kind.line)
    HttpProbe(bench.recorder).get(bench.url)


def _sql(bench: CaptureBench, kind: Kind) -> None:
    """Put it in a row, in a column, in a parameter and in a statement."""
    columns = ("id", "message", kind.column if kind.bare else "message_too")
    held = kind.secret if kind.bare else kind.line
    rows = [(1, kind.line, held), (2, None, None)]
    connection: Any = SimpleNamespace(
        info=SimpleNamespace(dbname="app"),
        execute=lambda *_: SimpleNamespace(
            description=[SimpleNamespace(name=name) for name in columns], fetchall=lambda: rows
        ),
    )
    session = Session(connection, bench.recorder, "app_user")
    assert session.query("SELECT %s", (kind.line,)).rows[0][1] == kind.line, "the check sees it"
    session.query(f"SELECT 1 -- {kind.line}".replace("\n", " "))


def _logs(bench: CaptureBench, kind: Kind) -> None:
    """Put it in a line, and in a field of a JSON line."""
    entry = {"level": "info", "message": kind.line, "extra": {kind.column: kind.secret}}
    if not kind.bare:
        entry["extra"] = kind.line
    read = read_log(bench.recorder, "worker", f"starting\n{kind.line}\n{json.dumps(entry)}\n")
    assert any(kind.secret in line for line in read.lines), "the check sees it"


def _process(bench: CaptureBench, kind: Kind) -> None:
    """Print it on a line and as a literal."""
    _run(bench, f"print({kind.line!r}); print([{kind.line!r}])")


def _command(bench: CaptureBench, kind: Kind) -> None:
    """Put it in the words of a command; the word before a secret may be what identifies it."""
    name = f"--{kind.column.replace('_', '-')}"
    _run(bench, "pass", "--", *((name, kind.secret) if kind.bare else (kind.line,)))


def _tasks(bench: CaptureBench, kind: Kind) -> None:
    """Put it in an argument, in a return value and in the error of a refused task."""
    held = {kind.column: kind.secret, "note": kind.line} if kind.bare else {"note": kind.line}
    error = {"type": "OperationalError", "message": kind.line}
    probe = TaskProbe(
        bench.recorder,
        PreparedPublisher(
            {"task_id": "1", "eager": False}, {"state": "SUCCESS", "value": held, "timed_out": 0}
        ),
        prefix="app.",
    )
    assert probe.run("app.ping", held).value == held, "the check sees it"
    refusing = TaskProbe(bench.recorder, PreparedPublisher({"error": error}), prefix="app.")
    with pytest.raises(AssertionError, match="OperationalError"):
        refusing.publish("app.ping", [held])


def _traceback(bench: CaptureBench, kind: Kind) -> None:
    """Put it in the message of an uncaught exception, and in the line that raised it."""
    _run(bench, f"raise RuntimeError({kind.line!r}) from ValueError([{kind.line!r}])")


def _environment(bench: CaptureBench, kind: Kind) -> None:
    """Put it in a variable, printed like env does and as Python shows its environment."""
    name, value = kind.variable
    script = "import os; print(*map('='.join, os.environ.items()), sep='\\n'); print(os.environ)"
    _run(bench, script, env={name: value, "ALL": kind.line})


def _file(bench: CaptureBench, kind: Kind) -> None:
    """Put it in a line of a file."""
    project = bench.folder.parent / "project"
    project.mkdir()
    (project / "settings").write_text(f"a = 1\n{kind.line}\n")
    FileProbe(bench.recorder, project).read("settings")


def _stage(bench: CaptureBench, kind: Kind) -> None:
    """Put it in the message of a failed check, for the journal."""

    def fail() -> None:
        raise AssertionError(f"got {kind.line}, expected nothing")

    call = pytest.CallInfo.from_call(fail, when="call")
    alive: Any = SimpleNamespace(still_answers=lambda: True, disk_problem=str)
    record_stage(bench.recorder, alive, call, item="t.py::test")


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
    "stage": _stage,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("capture", CAPTURES)
def test_secret_of_each_kind_is_in_no_capture(
    bench: CaptureBench, kind: Kind, capture: str
) -> None:
    """Nothing that is written contains the secret, raw or decoded."""
    CAPTURES[capture](bench, kind)
    written = bench.written()
    assert not _found(kind, written)
    first_line_only = capture == "stage" and kind.name == "private-key"
    assert first_line_only or "[redacted:" in written


def _cut_statement(bench: CaptureBench, text: str) -> None:
    connection: Any = SimpleNamespace(
        info=SimpleNamespace(dbname="app"),
        execute=lambda *_: SimpleNamespace(description=None, rowcount=0),
    )
    Session(connection, bench.recorder, "app_user").query(text)


def _cut_answer_of_a_task(bench: CaptureBench, text: str) -> None:
    answer = {"state": "SUCCESS", "value": text, "timed_out": False}
    TaskProbe(bench.recorder, PreparedPublisher(answer), prefix="app.").result("1")


def _cut_command(bench: CaptureBench, text: str) -> None:
    _run(bench, "print('password=unknown-1')", text)


def _cut_bytes(bench: CaptureBench, text: str) -> None:
    HttpProbe(bench.recorder).raw(bench.url, text.encode())


def _cut_message(bench: CaptureBench, text: str) -> None:
    def fail() -> None:
        raise AssertionError(text)

    call = pytest.CallInfo.from_call(fail, when="call")
    alive: Any = SimpleNamespace(still_answers=lambda: True, disk_problem=str)
    record_stage(bench.recorder, alive, call, item="t.py::test")


def _cut_proof(bench: CaptureBench, text: str) -> None:
    def fail() -> None:
        raise AssertionError(text)

    watch = Stopwatch()
    copy: Any = SimpleNamespace(
        needs_stack=False, running=Running(), bring_up=SimpleNamespace(stopwatch=watch)
    )
    fault = sql("f", "DROP POLICY p ON t", landing="SELECT 1")
    fields: dict[str, Any] = {"recorder": bench.recorder, "copy": copy, "again": False}
    with bench.recorder.in_scope(Scope(part="proof:f", item="t", criterion="RLS-01")):
        run_steps(ProofEvent, fault, Prediction(text="got"), fail, criterion="RLS-01", **fields)


@pytest.mark.parametrize(
    ("capture", "limit"),
    [
        (_cut_statement, 120),
        (_cut_answer_of_a_task, 120),
        (_cut_answer_of_a_task, 20_000),
        (_cut_command, 400),
        (_cut_bytes, 2_000),
        (_cut_message, 4_000),
        (_cut_proof, 4_000),
    ],
)
def test_secret_is_redacted_before_a_text_is_cut(
    bench: CaptureBench, capture: Callable[[CaptureBench, str], None], limit: int
) -> None:
    """Half a secret is not recognised, so every text is redacted before it is cut."""
    secret = "r4bbit-hole-9-of-the-broker"
    dsn = f"amqp://worker:{secret}@mq.example.org:5672/prod"
    for before in range(limit - len(dsn) - 60, limit, 7):
        capture(bench, f"{'x' * before} {dsn}")
    written = bench.written()
    assert "[redacted:" in written
    assert secret[:6] not in written
    records = read_journal([bench.journal.path])
    texts = [one.message for one in records if isinstance(one, PhaseEvent)]
    texts += [one.baseline for one in records if isinstance(one, ProofEvent)]
    texts += [one.summary for one in records if isinstance(one, Observation)]
    assert max(len(one) for one in texts) <= 4_000, "long texts are cut"


def test_secret_of_each_kind_is_in_no_report_of_pytest(bench: CaptureBench) -> None:
    """JUnit and pytest-html show it as an assertion, a local variable, output and a log record."""
    for path in _reports(bench):
        plain = "\n".join(_decoded(path.read_text()))
        assert all(_found(kind, plain) for kind in KINDS), "premise: they were written"
        bench.redactor.redact_file(path)
        counted = [one.count for one in bench.redactor.ledger if one.place == path.name]
        assert sum(counted) >= len(KINDS), path.name
    written = bench.written()
    assert [kind.name for kind in KINDS if _found(kind, written)] == []


def _reports(bench: CaptureBench) -> list[Path]:
    """Return the reports of pytest about one test for each kind of secret."""
    project = bench.folder.parent / "tests"
    project.mkdir()
    (project / "test_it.py").write_text(
        "import logging\nimport pytest\n\n"
        f"@pytest.mark.parametrize('number', range({len(KINDS)}))\n"
        "def test_it(number):\n"
        f"    text = {[kind.line for kind in KINDS]!r}[number]\n    print(text)\n"
        "    logging.error('saw %s', text)\n    assert [text] == []\n"
    )
    reports = [bench.folder / "tests" / name for name in ("junit.xml", "pytest.html")]
    command = [sys.executable, "-m", "pytest", "-q", "-l", "-p", "no:gateproof", "-p", "no:xdist"]
    command += [f"--junitxml={reports[0]}", f"--html={reports[1]}", "--self-contained-html"]
    command += ["-o", "junit_logging=all", "--rootdir", str(project), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return reports


def _run(
    bench: CaptureBench, script: str, *words: str, env: Mapping[str, str] | None = None
) -> None:
    """Run a script from a file, so that the command line contains only the given words."""
    path = bench.folder.parent / "script.py"
    path.write_text(script)
    probe = ProcessProbe(bench.recorder, Here())  # type: ignore[arg-type] # run is all it needs
    probe.run([sys.executable, str(path), *words], env=env or {}, folder=bench.folder.parent)
    assert probe.last_redactions


def _found(kind: Kind, text: str) -> bool:
    return kind.secret in text


def _decoded(text: str) -> Iterator[str]:
    """Yield a text without the escapes of markup, JSON, URLs and base64."""
    plain = html.unescape(html.unescape(text))
    yield plain
    yield unquote(plain)
    yield plain.replace("\\\\", "\\").replace('\\"', '"').replace("\\n", "\n")
    for run in re.findall(r"[A-Za-z0-9+/_-]{12,}={0,2}", plain):
        urlsafe = run.rstrip("=").replace("+", "-").replace("/", "_")
        padded = urlsafe[: len(urlsafe) // 4 * 4]
        yield base64.urlsafe_b64decode(padded).decode("utf-8", "replace")
