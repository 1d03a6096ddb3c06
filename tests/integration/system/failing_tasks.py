"""Tasks that fail, each in its own way; the workers of the tests load them with `--include`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Reject

LONG_S = 60.0


class OddError(Exception):
    """An error that cannot be pickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = lambda: second


@shared_task(name="failing.raise_error")
def raise_error(tenant_id: str, **_: Any) -> None:
    """Raise an ordinary error."""
    raise LookupError(f"nothing for {tenant_id}")


@shared_task(name="failing.ignore_result", ignore_result=True)
def ignore_result(tenant_id: str, **_: Any) -> None:
    """Raise an error in a task whose result is ignored."""
    raise LookupError(f"nothing for {tenant_id}")


@shared_task(name="failing.use_up_retries", bind=True, max_retries=2)
def use_up_retries(self: Task[Any, Any], /, tenant_id: str, **_: Any) -> None:
    """Retry twice, then fail."""
    raise self.retry(exc=ConnectionError(f"no connection for {tenant_id}"), countdown=0)


@shared_task(name="failing.reject")
def reject(tenant_id: str, **_: Any) -> None:
    """Reject the message."""
    raise Reject(f"not for {tenant_id}", requeue=False)


@shared_task(name="failing.soft_limit", soft_time_limit=1)
def soft_limit(**_: Any) -> None:
    """Run beyond the soft time limit, at which Celery raises in the task."""
    time.sleep(LONG_S)


@shared_task(name="failing.hard_limit", time_limit=1)
def hard_limit(**_: Any) -> None:
    """Run beyond the hard time limit, at which Celery kills the process."""
    time.sleep(LONG_S)


@shared_task(name="failing.killed")
def killed(**_: Any) -> None:
    """Kill the own process, as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LONG_S)


@shared_task(name="failing.system_exit")
def system_exit(**_: Any) -> None:
    """Exit the process."""
    sys.exit(3)


@shared_task(name="failing.unencodable")
def unencodable(**_: Any) -> object:
    """Return a value that JSON cannot encode."""
    return object()


@shared_task(name="failing.unpicklable")
def unpicklable(tenant_id: str, **_: Any) -> None:
    """Raise an error that cannot be pickled for the worker's parent."""
    raise OddError("odd", tenant_id)


class MuteError(Exception):
    """An error that has no text."""

    def __str__(self) -> str:
        raise RuntimeError


@shared_task(name="failing.broken_text")
def broken_text(**_: Any) -> None:
    """Raise an error that has no text."""
    raise MuteError


@shared_task(name="failing.first_attempt", bind=True, max_retries=2)
def first_attempt(self: Task[Any, Any], /, path: str, text: str | None) -> str:
    """Append a line to the file at a path; retry once for an error with this text, or without."""
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.write("run\n")
    try:
        fail_once(self.request.retries, text)
    except (ConnectionError, MuteError) as error:
        raise self.retry(exc=error, countdown=0) from error
    return "done"


def fail_once(attempts: int, text: str | None) -> None:
    """Raise an error with a text, or without, at the first attempt."""
    if not attempts:
        raise MuteError if text is None else ConnectionError(text)


@shared_task(name="failing.with_text")
def with_text(text: str) -> None:
    """Raise an error with this text."""
    raise LookupError(text)


@shared_task(name="failing.repeat_arguments")
def repeat_arguments(*args: Any, **kwargs: Any) -> None:
    """Raise an error that repeats the arguments."""
    raise LookupError(f"nothing for {args} and {kwargs}")


@shared_task(name="failing.join_halves")
def join_halves(first: str, second: str) -> None:
    """Raise errors that hold a secret which no argument holds as a whole."""
    secret = first + second
    cause = ConnectionError(f"no answer from postgresql://app:{secret}@db.example/app")
    raise LookupError(f"refused: Authorization: Bearer {secret}; api_key='{secret}'") from cause


@shared_task(name="failing.until_healed")
def until_healed(path: str, **_: Any) -> None:
    """Append a line to the file at a path, and fail until `<path>.healed` exists."""
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.write("run\n")
    if not Path(f"{path}.healed").exists():
        raise ConnectionError("not healed yet")


@shared_task(name="failing.reporting", bind=True)
def reporting(self: Task[Any, Any], /, path: str, **_: Any) -> None:
    """Append what the message is besides its arguments to a file, and fail until it is healed."""
    request = self.request
    names = ("timelimit", "group", "group_index", "root_id", "parent_id", "shadow", "ignore_result")
    kept = {name: getattr(request, name) for name in names}
    kept["expires"] = bool(request.expires)
    kept["note"] = (request.headers or {}).get("x-note")
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(kept) + "\n")
    if not Path(f"{path}.healed").exists():
        raise ConnectionError("not healed yet")


@shared_task(name="failing.write")
def write(path: str, text: str) -> None:
    """Append a line to the file at a path."""
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.write(f"{text}\n")


@shared_task(name="failing.on_signal")
def on_signal(path: str, **_: Any) -> None:
    """Wait for a file, then fail."""
    end = time.monotonic() + LONG_S
    while not Path(path).exists() and time.monotonic() < end:
        time.sleep(0.02)
    raise LookupError("the signal file exists")
