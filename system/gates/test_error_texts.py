"""Gate dlq: errors whose text PostgreSQL refuses, or that have no text."""

from __future__ import annotations

import json
import re
from typing import Any

from gateproof import Stack, Sut, claim, criterion, falsified_by, source

from .own_tasks import lines_of_a_worker

ENDINGS, TASK_LOG = "system/transport/endings.py", "system/observability/task_log.py"
ROW, TEXT = "system/dead_letters/row.py", "system/connections/text.py"

FAILS, RETRIES = "app.tasks.housekeeping.gate_fails", "app.tasks.housekeeping.gate_retries"
TEXTS = {"NUL": "a\x00b", "lone surrogate": "a\ud800b"}
SHOWN = {"NUL": "a\\x00b", "lone surrogate": "a\\ud800b"}

# Two more tasks. Without a text they raise an error whose text cannot be made.
_TASKS = """
import types

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
"""


@criterion(
    "DLQ-19",
    needs=(
        "database",
        "celery",
        "worker",
        "dead_letters",
        "logs",
        "logs.error",
        "logs.retry",
    ),
)
@falsified_by(
    source(
        "result-as-it-is",
        ENDINGS,
        "return storable(value) if isinstance(value, str) else value",
        "return value",
    ),
    expect=("rows of the retry", "NUL", "got 1"),
)
@falsified_by(
    source("surrogates-stay", TEXT, '.encode("utf-8", "backslashreplace").decode("utf-8")', ""),
    expect=("log lines of the retry", "lone surrogate", "got 0"),
)
@falsified_by(
    source(
        "row-as-it-is",
        ROW,
        "error_message=mask.text(message_of(exception))",
        "error_message=str(exception)",
    ),
    expect=("rows of the failure", "NUL", "got 0"),
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
    expect=("log lines of the retry", "no text", "got 0"),
)
def test_errors_are_recorded_whatever_their_text(own_stack: Stack) -> None:
    """Rows, results and log lines have the task's error, and a retry ends as a success."""
    stack, sent = own_stack, dict[tuple[str, str], str]()
    for task in (RETRIES, FAILS):
        for name, text in {**TEXTS, "no text": None}.items():
            sent[task, name] = stack.tasks.publish(task, kwargs={"text": text})
    lines = lines_of_a_worker(stack, _TASKS, len(sent))
    for (task, name), task_id in sent.items():
        if task == FAILS:
            judge_failure(stack, lines, task_id, name)
        elif not judge_retry(stack, lines, task_id, name):
            return  # the worker has ended: no other state would come either


def judge_failure(stack: Stack, lines: list[dict[str, Any]], task_id: str, name: str) -> None:
    """Judge row, result and log line of a task that failed."""
    error, text = ("ConnectionError", SHOWN[name]) if name in SHOWN else ("MuteError", "")
    table, pattern = stack.sut.dead_letters.table, rf"(?s)^{error}: .*{re.escape(text)}\Z"
    row = f"SELECT exception_class, error_message FROM {table} WHERE task_id = %s"
    rows = [
        f"{cls.rpartition('.')[2]}: {message}"
        for cls, message in stack.sql.query(row, (task_id,)).rows
    ]
    judge_one("rows of the failure", "error in the row", name, rows, pattern)
    result = "SELECT convert_from(result, 'UTF8') FROM celery_taskmeta WHERE task_id = %s"
    stored = [json.loads(one) for one in stack.sql.query(result, (task_id,)).column()]
    types = [str(one.get("exc_type")) for one in stored]
    judge_one("results of the failure", "error in the result", name, types, f"^{error}")
    logged = errors_of(stack.sut, lines, task_id, stack.sut.logs.failure)
    judge_one("log lines of the failure", "error in the log line", name, logged, pattern)


def judge_one(count: str, error: str, on: str, texts: list[str], pattern: str) -> None:
    """Judge that there is one text, and that it matches a pattern.

    Args:
        count: the name of the claim about their number.
        error: the name of the claim about the text.
        on: the object of both claims.
        texts: the texts.
        pattern: a regular expression.

    """
    if claim(count, on=on, got=len(texts), expected=1):
        claim(error, on=on, got=texts[0], relation="matches", expected=pattern)


def judge_retry(stack: Stack, lines: list[dict[str, Any]], task_id: str, name: str) -> bool:
    """Judge row, result and log line of a task that was retried, and succeeded then.

    Returns:
        Whether it has succeeded.

    """
    state = stack.tasks.result(task_id).state
    succeeded = claim("state after the retry", on=name, got=state, expected="SUCCESS")
    table = stack.sut.dead_letters.table
    rows = stack.sql.query(f"SELECT count(*) FROM {table} WHERE task_id = %s", (task_id,)).scalar()
    claim("rows of the retry", on=name, got=rows, expected=0)
    logged = errors_of(stack.sut, lines, task_id, stack.sut.logs.retry)
    claim("log lines of the retry", on=name, got=len(logged), expected=1)
    return succeeded


def errors_of(sut: Sut, lines: list[dict[str, Any]], task_id: str, message: str) -> list[str]:
    """Return the errors in the lines with a message about a task."""
    names = sut.logs
    wanted = {names.message: message, names.task_id: task_id}
    return [str(line[names.error]) for line in lines if wanted.items() <= line.items()]
