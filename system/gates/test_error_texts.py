"""Gate dlq: errors whose text PostgreSQL refuses, or that have no text."""

from __future__ import annotations

import json
from typing import Any

from gateproof import Stack, Sut, criterion, falsified_by, premise, source

ENDINGS, TASK_LOG = "system/transport/endings.py", "system/observability/task_log.py"
ROW, TEXT = "system/dead_letters/row.py", "system/connections/text.py"

FAILS, RETRIES = "app.tasks.housekeeping.gate_fails", "app.tasks.housekeeping.gate_retries"
TEXTS = {"NUL": "a\x00b", "lone surrogate": "a\ud800b"}
SHOWN = {"NUL": "a\\x00b", "lone surrogate": "a\\ud800b"}
WORKER_DEADLINE_S = 60.0

# Run the system's worker with two more tasks, until a number of tasks has ended. Without a text
# they raise an error whose text cannot be made.
_WORKER = """
import os, signal, socket, sys, threading, types
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    os.environ["CELERY_METRICS_PORT"] = str(free.getsockname()[1])
from celery import shared_task, signals

class MuteError(Exception):
    def __str__(self):
        raise RuntimeError

sys.modules["gate"] = types.ModuleType("gate")  # so that the error can be pickled
MuteError.__module__, sys.modules["gate"].MuteError = "gate", MuteError

def error_with(text):
    return MuteError() if text is None else ConnectionError(text)

@shared_task(name="app.tasks.housekeeping.gate_fails")
def fails(text):
    raise error_with(text)

@shared_task(name="app.tasks.housekeeping.gate_retries", bind=True, max_retries=1)
def retries(self, text):
    try:
        if not self.request.retries:
            raise error_with(text)
    except (ConnectionError, MuteError) as error:
        raise self.retry(exc=error, countdown=0)
    return "done"

left = [int(sys.argv[1])]

def stop():
    os.kill(os.getpid(), signal.SIGTERM)

@signals.task_postrun.connect(weak=False)
def ended(state=None, **_):
    left[0] -= state != "RETRY"
    if not left[0]:
        stop()

patience = threading.Timer(30, stop)
patience.daemon = True
patience.start()
from system.worker import main
os._exit(main(["--pool", "solo", "--queues", "housekeeping"]))
"""


@criterion("DLQ-19", needs=("database", "celery", "worker", "dead_letters", "logs"))
@falsified_by(
    source(
        "result-as-it-is",
        ENDINGS,
        "return storable(value) if isinstance(value, str) else value",
        "return value",
    ),
    expect="rows of a retry for an error with NUL: got 1, expected 0",
)
@falsified_by(
    source("surrogates-stay", TEXT, '.encode("utf-8", "backslashreplace").decode("utf-8")', ""),
    expect="log lines of a retry with lone surrogate: got [], expected one",
)
@falsified_by(
    source(
        "row-as-it-is",
        ROW,
        "error_message=mask.text(message_of(exception))",
        "error_message=str(exception)",
    ),
    expect="rows of a failure with NUL: got [], expected",
)
@falsified_by(
    source(
        "line-of-the-text",
        TASK_LOG,
        function="describe",
        body="""
            return f"{type(error).__qualname__}: {error}"
        """,
    ),
    expect="log lines of a retry with no text: got [], expected one",
)
def test_errors_are_recorded_whatever_their_text(own_stack: Stack) -> None:
    """Rows, results and log lines have the task's error, and a retry ends as a success."""
    stack, sent = own_stack, dict[tuple[str, str], str]()
    for task in (RETRIES, FAILS):
        for name, text in {**TEXTS, "no text": None}.items():
            sent[task, name] = stack.tasks.publish(task, kwargs={"text": text})
    lines = lines_of_a_worker(stack, len(sent))
    for (task, name), task_id in sent.items():
        (judge_failure if task == FAILS else judge_retry)(stack, lines, task_id, name)


def judge_failure(stack: Stack, lines: list[dict[str, Any]], task_id: str, name: str) -> None:
    """Judge row, result and log line of a task that failed."""
    error, text = ("ConnectionError", SHOWN[name]) if name in SHOWN else ("MuteError", "")
    table, expected = stack.sut.dead_letters.table, f"one {error}: {text}"
    row = f"SELECT exception_class, error_message FROM {table} WHERE task_id = %s"
    rows = [
        f"{cls.rpartition('.')[2]}: {message}"
        for cls, message in stack.sql.query(row, (task_id,)).rows
    ]
    assert is_one(rows, f"{error}: ", text), (
        f"rows of a failure with {name}: got {rows}, expected {expected}"
    )
    result = "SELECT convert_from(result, 'UTF8') FROM celery_taskmeta WHERE task_id = %s"
    stored = [json.loads(one) for one in stack.sql.query(result, (task_id,)).column()]
    assert is_one([one["exc_type"] for one in stored], error), (
        f"results of a failure with {name}: got {stored}, expected one {error}"
    )
    logged = errors_of(stack.sut, lines, task_id, stack.sut.logs.failure)
    assert is_one(logged, f"{error}: ", text), (
        f"log lines of a failure with {name}: got {logged}, expected {expected}"
    )


def is_one(texts: list[str], begin: str, end: str = "") -> bool:
    """Return whether there is one text with this begin and end."""
    return len(texts) == 1 and texts[0].startswith(begin) and texts[0].endswith(end)


def judge_retry(stack: Stack, lines: list[dict[str, Any]], task_id: str, name: str) -> None:
    """Judge row, result and log line of a task that was retried, and succeeded then."""
    state = stack.tasks.result(task_id).state
    assert state == "SUCCESS", (
        f"state after a retry for an error with {name}: got {state!r}, expected 'SUCCESS'"
    )
    table = stack.sut.dead_letters.table
    rows = stack.sql.query(f"SELECT count(*) FROM {table} WHERE task_id = %s", (task_id,)).scalar()
    assert rows == 0, f"rows of a retry for an error with {name}: got {rows}, expected 0"
    logged = errors_of(stack.sut, lines, task_id, stack.sut.logs.retry)
    assert len(logged) == 1, f"log lines of a retry with {name}: got {logged}, expected one"


def lines_of_a_worker(stack: Stack, count: int) -> list[dict[str, Any]]:
    """Run a worker until some tasks have ended, and return what it logged."""
    done = stack.process.run(
        [*stack.sut.fill(["{python}", "-c"]), _WORKER, str(count)],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
        deadline_s=WORKER_DEADLINE_S,
    )
    premise("exit status of a worker", got=done.exit_status, expected=0)
    parsed = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    premise("lines of a worker", got=len(parsed), expected=1, relation="at_least")
    return parsed


def errors_of(sut: Sut, lines: list[dict[str, Any]], task_id: str, message: str) -> list[str]:
    """Return the errors in the lines with a message about a task."""
    names = sut.logs
    wanted = {names.message: message, names.task_id: task_id}
    return [str(line[names.error]) for line in lines if wanted.items() <= line.items()]
