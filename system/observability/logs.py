"""Write logs as one JSON object per line on standard output, from every process of a worker.

Owns the format of a line, the redaction of secrets in it, and standard output itself: text that
libraries print (Celery's shut-down notices, warnings, a traceback on standard error) goes through a
pipe whose reader turns each line into a JSON object.

A line is written with one `write()` of at most PIPE_BUF bytes, which POSIX does not interleave with
other writers. The longest text of a longer line is cut. Source: OBS-07, OBS-09; write(2).
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets as random_tokens
import select
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, quote_plus

import structlog
from structlog.typing import EventDict, WrappedLogger

from system.connections.fork import keep_from_children
from system.dead_letters.masking import mask_text
from system.dead_letters.row import message_of

TASK_FIELDS = ("task_name", "task_id", "tenant_id", "correlation_id")
LINE_LIMIT = select.PIPE_BUF
HIDDEN = "[hidden]"
DRAIN_DEADLINE_S = 2.0

_CUT = "…"
_POSTGRESQL = re.compile(r"((?:\w+\+)*postgres(?:ql)?(?:\+\w+)?)://[^\s'\"<>]+", re.IGNORECASE)
_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://[^\s/'\"@]*@")
# Shorter passwords occur in ordinary words; they are hidden in URLs only.
_SHORTEST_SECRET = 4


class Scrubber:
    """Removes URLs with credentials and known secrets from text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        long = [word for word in secrets if len(word) >= _SHORTEST_SECRET]
        forms = {form for word in long for form in (word, quote(word, safe=""), quote_plus(word))}
        self._forms = sorted(forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return text without the address of any database, any userinfo or any known secret."""
        text = _POSTGRESQL.sub(rf"\1://{HIDDEN}", text)
        text = _USERINFO.sub(rf"\1://{HIDDEN}@", text)
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def value(self, value: Any) -> Any:
        """Return a value of a log line with every text in it scrubbed."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        return value if isinstance(value, int | float | None) else self.text(str(value))


class LineHandler(logging.Handler):
    """Writes each log record as one line to a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; ignore a descriptor without a reader."""
        with suppress(OSError):
            os.write(self._descriptor, self._line(record).encode("ascii") + b"\n")

    def _line(self, record: logging.LogRecord) -> str:
        """Return a record as a line; an object in it whose text cannot be made gives another."""
        try:
            return self.format(record)
        except Exception as broken:  # noqa: BLE001 (the caller of a logger must not fail)
            why = f"{type(broken).__qualname__} in a message of {record.name}"
            lost = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname}
            return self.format(
                logging.makeLogRecord({**lost, "msg": f"log message not available: {why}"})
            )


class Output:
    """Reserves the process's standard output for JSON lines."""

    def __init__(self) -> None:
        self.descriptor = os.dup(1)
        reader, writer = os.pipe()
        # A child's copy of the reading end would keep the pipe open after its parent has died.
        self._printed = keep_from_children(
            os.fdopen(reader, encoding="utf-8", errors="backslashreplace")
        )
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.close(writer)
        self._marker = random_tokens.token_hex(16)
        self._drained = threading.Event()
        threading.Thread(target=self._relay, name="output-relay", daemon=True).start()

    def drain(self) -> None:
        """Wait until everything printed so far is logged."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(1, f"\n{self._marker}\n".encode())
        self._drained.wait(DRAIN_DEADLINE_S)

    def _relay(self) -> None:
        with self._printed as lines:
            for line in lines:
                if line.strip() == self._marker:
                    self._drained.set()
                elif line.strip():
                    logging.getLogger("output").warning("%s", line.rstrip())


class _Hidden:
    """Holds the scrubber in use, which gets the passwords once the settings are read."""

    scrubber = Scrubber()


def take_over() -> Output:
    """Reserve standard output for JSON lines, and send every logger of this process there.

    Returns:
        The output; drain it before the process ends.

    """
    output = Output()
    handler = LineHandler(output.descriptor)
    handler.setFormatter(formatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return output


def hide(secrets: Iterable[str]) -> None:
    """Hide these values, and their URL-encoded forms, in every later line."""
    _Hidden.scrubber = Scrubber(secrets)


def formatter() -> structlog.stdlib.ProcessorFormatter:
    """Return the formatter that turns a record of any logger into a JSON line."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars],
        processors=[_shape, _render],
    )


def fit(fields: dict[str, Any], limit: int = LINE_LIMIT) -> str:
    """Return fields as a JSON line, and cut its longest texts if it exceeds a limit.

    Args:
        fields: the line's content; texts are cut at their end.
        limit: bytes, including the line's end.

    """
    line = json.dumps(fields)
    while len(line) >= limit:
        longest = max(fields, key=lambda key: len(json.dumps(fields[key])))
        text = fields[longest] if isinstance(fields[longest], str) else str(fields[longest])
        if len(text) <= len(_CUT):
            break
        # Some characters take up to 12 bytes as escapes: cut in proportion, and measure again.
        size = len(json.dumps(text))
        keep = len(text) * max(0, size - (len(line) - limit) - 8) // size
        fields = {**fields, longest: text[: min(keep, len(text) - len(_CUT) - 1)] + _CUT}
        line = json.dumps(fields)
    return line


def _shape(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog", None)
    exc_info = event.pop("exc_info", None) or record.exc_info
    if isinstance(exc_info, tuple) and exc_info[1] is not None:
        name, text = type(exc_info[1]).__qualname__, message_of(exc_info[1])
        event.setdefault("error", mask_text(f"{name}: {text}"))
        event["traceback"] = mask_text(logging.Formatter().formatException(exc_info))
    known = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": event.pop("event", ""),
        **{name: event.pop(name, None) for name in TASK_FIELDS},
    }
    return {**known, **event, "pid": record.process}


def _render(_: WrappedLogger, __: str, event: EventDict) -> str:
    return fit(_Hidden.scrubber.value(dict(event)))
