"""Log lines: fields, hidden secrets and maximum length."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from system.observability import logs

FIELDS = ["timestamp", "level", "logger", "message", *logs.TASK_FIELDS]


@pytest.fixture(autouse=True)
def reset() -> Iterator[None]:
    """Reset hidden values and log context after each test."""
    yield
    logs.hide(())
    structlog.contextvars.clear_contextvars()


def line(message: str, *words: object, level: int = logging.INFO, **more: Any) -> dict[str, Any]:
    """Format one record of another logger, and parse the line."""
    record = logging.LogRecord(
        "some.logger", level, "f.py", 1, message, words, more.get("exc_info")
    )
    text = logs.formatter().format(record)
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_line_has_every_field() -> None:
    """A line starts with the specified fields, which are null where they do not apply."""
    made = line("hello %s", "there")
    assert list(made)[:8] == FIELDS
    assert made["message"] == "hello there"
    assert (made["level"], made["logger"], made["task_id"]) == ("info", "some.logger", None)
    assert made["timestamp"].endswith("+00:00")


def test_line_has_the_context() -> None:
    """A line of any logger has the context of the running task."""
    structlog.contextvars.bind_contextvars(task_id="t-1", tenant_id="t-2")
    made = line("inside")
    assert (made["task_id"], made["tenant_id"]) == ("t-1", "t-2")


def test_exception_stays_on_its_line() -> None:
    """An exception and its traceback are fields of the same line."""
    empty: dict[str, int] = {}
    with pytest.raises(KeyError, match="lost") as caught:
        empty["lost"]
    made = line("broke", level=logging.ERROR, exc_info=caught._excinfo)
    assert made["error"] == "KeyError: 'lost'"
    assert "Traceback" in made["traceback"]


@pytest.mark.parametrize(
    "text",
    [
        "Connected to sqla+postgresql+psycopg2://app:s3cret@h:5432/d?x=1",
        "postgresql://app@h/d",
        "at postgres://h/d now",
        "redis://:s3cret@h:6379/0 lost",
        "amqp://guest:s3cret@h//",
    ],
)
def test_dsn_is_hidden(text: str) -> None:
    """A line never contains a DSN, with or without a password."""
    made = line(text)
    assert "s3cret" not in json.dumps(made)
    assert "://app" not in made["message"]
    assert logs.HIDDEN in made["message"]


def test_ordinary_url_is_kept() -> None:
    """A URL without credentials is not hidden."""
    assert line("see https://example.org/a@b")["message"] == "see https://example.org/a@b"


@pytest.mark.parametrize("form", ["p@ss/word", "p%40ss%2Fword"])
def test_known_password_is_hidden(form: str) -> None:
    """A known password is hidden as plain text and URL-encoded, in fields and in messages."""
    logs.hide(["p@ss/word"])
    assert form not in json.dumps(line(f"got {form}"))
    assert line(f"got {form}")["message"] == f"got {logs.HIDDEN}"


def test_scrubber_hides_nested_values() -> None:
    """Secrets are hidden inside lists and objects too; values other than text are unchanged."""
    scrubber = logs.Scrubber(["hunter2"])
    assert scrubber.value({"a": ["x hunter2", 1, None, True]}) == {
        "a": [f"x {logs.HIDDEN}", 1, None, True]
    }


@pytest.mark.parametrize("text", ["x" * 50_000, "é" * 50_000, "🐎\n" * 20_000, '"\\' * 30_000])
def test_long_line_is_truncated(text: str) -> None:
    """A line never exceeds the size of one atomic write, and is JSON with all its fields."""
    made = logs.fit({"message": "short", "error": text, "n": 1})
    assert len(made) < logs.LINE_LIMIT
    parsed = json.loads(made)
    assert parsed["message"] == "short"
    assert parsed["error"].endswith("…")
    assert len(made) > logs.LINE_LIMIT // 4


def test_short_line_is_not_truncated() -> None:
    """A line within the limit is unchanged."""
    assert json.loads(logs.fit({"message": "x" * 3000})) == {"message": "x" * 3000}


def test_secrets_are_hidden_before_truncation() -> None:
    """No part of a secret remains where the line is truncated."""
    logs.hide(["hunter2-hunter2"])
    made = line("x" * 3700 + "hunter2-hunter2" * 40)
    assert "hunter" not in made["message"]


def test_record_without_a_text_is_one_line() -> None:
    """An error or a message whose text cannot be made is a line that says so."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    mute = MuteError()
    made = line("broke", level=logging.ERROR, exc_info=(MuteError, mute, None))
    assert made["error"].endswith("MuteError: its text is not available: RuntimeError")
    reader, writer = os.pipe()
    handler = logs.LineHandler(writer)
    handler.setFormatter(logs.formatter())
    handler.emit(logging.LogRecord("some.logger", logging.ERROR, "f.py", 1, "%s", (mute,), None))
    os.close(writer)
    with os.fdopen(reader) as stream:
        written = [json.loads(one) for one in stream]
    assert [(one["level"], one["message"]) for one in written] == [
        ("error", "log message not available: RuntimeError in a message of some.logger")
    ]
