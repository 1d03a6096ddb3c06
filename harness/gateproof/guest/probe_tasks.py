"""The probe tasks: ping, fail, retry, hold and query, which the harness loads into a system.

Runs in the system's interpreter, in its workers and publishers, on Python 3.8 and later; uses the
system's own Celery and imports nothing from the harness. Claims about the runtime can use these
tasks on any system; claims about the system's own code need the system's own tasks.

Where the description has no log lines, a worker also prints one line for each end of any task: a
JSON object on standard error, after all that Celery does at this end.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import threading
import time
from typing import Any

from celery import current_task, shared_task, signals

PREFIX = "gateproof.probe."
"""The prefix of the names of all probe tasks."""
DSN_VARIABLES = "GATEPROOF_PROBE_DSN"
"""The variable that has the names of the variables with a DSN of the worker, with commas."""
QUEUE_HEADER = "gateproof_queue"
"""The header with the queue that the task was published to; its retries go there too."""
ENDS_VARIABLE = "GATEPROOF_PROBE_ENDS"
"""The variable that asks for a line for each end of a task; the line has the name as a key."""
LONGEST_HOLD_S = 300.0
QUERY = "SELECT current_user::text, current_setting('{setting}', true), version()"
SETTING = re.compile(r"[\w.]+")


class ProbeFailureError(Exception):
    """A probe task was asked to fail."""


class ProbeQueryError(Exception):
    """A probe task cannot query the worker's database."""


@shared_task(name=PREFIX + "ping")  # type: ignore[untyped-decorator,unused-ignore]
def ping(fail: bool = False, retry: int = 0, hold_s: float = 0.0, **given: Any) -> dict[str, Any]:
    """Return the process that runs this, after the retries and the wait that are asked for.

    Args:
        fail: raise instead of returning.
        retry: the number of retries before the task ends.
        hold_s: seconds that the task takes, at most 300.
        **given: any further arguments, which are returned.

    Raises:
        ProbeFailureError: `fail` is set.

    """
    if current_task.request.retries < retry:
        raise _again(retry)
    time.sleep(min(max(hold_s, 0.0), LONGEST_HOLD_S))
    if fail:
        raise ProbeFailureError("ping failure requested")
    return {
        "status": "ok",
        "pid": os.getpid(),
        "parent_pid": os.getppid(),
        "thread": threading.current_thread().name,
        "retries": current_task.request.retries,
        "given": given,
    }


@shared_task(name=PREFIX + "fail")  # type: ignore[untyped-decorator,unused-ignore]
def fail(*args: Any, message: str = "failure requested", **given: Any) -> None:  # noqa: ARG001
    """Fail with a message, whatever the arguments are.

    Raises:
        ProbeFailureError: always.

    """
    raise ProbeFailureError(message)


@shared_task(name=PREFIX + "retry")  # type: ignore[untyped-decorator,unused-ignore]
def retry(times: int = 1) -> dict[str, Any]:
    """Succeed after this number of retries; return the number of attempts."""
    done = current_task.request.retries
    if done < times:
        raise _again(times)
    return {"status": "ok", "attempts": done + 1, "pid": os.getpid()}


@shared_task(name=PREFIX + "hold")  # type: ignore[untyped-decorator,unused-ignore]
def hold(seconds: float = 1.0) -> dict[str, Any]:
    """Take this number of seconds, at most 300, and return how long it took."""
    began = time.monotonic()
    time.sleep(min(max(seconds, 0.0), LONGEST_HOLD_S))
    return {"status": "ok", "took_s": time.monotonic() - began, "pid": os.getpid()}


@shared_task(name=PREFIX + "query")  # type: ignore[untyped-decorator,unused-ignore]
def query(
    setting: str = "application_name", variable: str = "", table: str = "", **given: Any
) -> dict[str, Any]:
    """Query the worker's database on a new connection, with the worker's own DSN.

    Args:
        setting: name of the setting to return, such as the one that names the tenant.
        variable: the variable with the DSN; by default, the first that is set.
        table: a table to read first; a lock on it holds the query.
        **given: any further arguments, which are returned.

    Returns:
        `current_user`, `setting`, `version` of the server, the `driver` that was used, and `given`.

    Raises:
        ProbeQueryError: there is no DSN or no driver, or a name is none.

    """
    for name in filter(None, (setting, table)):
        if not SETTING.fullmatch(name):
            raise ProbeQueryError(f"name: got {name!r}, expected that of a setting or a table")
    source = f" FROM (SELECT count(*) FROM {table}) rows" if table else ""  # noqa: S608 (a name)
    driver, row = _ask(_dsn(variable), QUERY.format(setting=setting) + source)
    found = {"current_user": row[0], "setting": row[1], "version": row[2], "driver": driver}
    return {**found, "given": given}


def _report_success(sender: Any, **_: Any) -> None:
    _report("success", sender, sender.request.id)


def _report_failure(sender: Any, task_id: str, **_: Any) -> None:
    # In the worker's main process too, for a task whose child was killed.
    _report("failure", sender, task_id)


def _report_retry(sender: Any, request: Any, **_: Any) -> None:
    _report("retry", sender, request.id)


def _report(end: str, task: Any, task_id: str) -> None:
    """Print the line about the end of a task, past the streams that Celery replaces."""
    line = {ENDS_VARIABLE: end, "task_name": task.name, "task_id": task_id, "pid": os.getpid()}
    # One write, with line ends of its own: several processes write to this stream at once.
    os.write(2, f"\n{json.dumps(line)}\n".encode())


if os.environ.get(ENDS_VARIABLE):
    signals.task_success.connect(_report_success, weak=False)
    signals.task_failure.connect(_report_failure, weak=False)
    signals.task_retry.connect(_report_retry, weak=False)


def _again(times: int) -> BaseException:
    """Publish this task again, to the same queue whatever the system's routes are."""
    options: dict[str, Any] = {}
    name = current_task.request.get(QUEUE_HEADER)
    if name:
        queue = current_task.app.amqp.queues[name]
        options["queue"] = name
        if queue.exchange.type != "direct":
            options["exchange"] = queue.exchange.name
            options["routing_key"] = queue.routing_key or name
    error: BaseException = current_task.retry(
        countdown=0, max_retries=times, throw=False, **options
    )
    return error


def _dsn(variable: str) -> str:
    """Return the DSN without the driver in its scheme, which drivers do not know."""
    names = [variable] if variable else os.environ.get(DSN_VARIABLES, "").split(",")
    for name in names:
        if os.environ.get(name):
            scheme, _, rest = os.environ[name].partition("://")
            return f"{scheme.partition('+')[0]}://{rest}"
    raise ProbeQueryError(
        f"DSN of the worker: got none in {', '.join(names) or 'no variable'}, expected one; "
        "name its variable in [worker] dsn"
    )


def _ask(dsn: str, statement: str) -> tuple[str, Any]:
    """Return the name of the first driver that is installed, and the row that it fetched."""
    for driver in ("psycopg", "psycopg2", "asyncpg"):
        try:
            module = importlib.import_module(driver)
        except ImportError:
            continue
        if driver == "asyncpg":
            return driver, asyncio.run(_ask_asyncpg(module, dsn, statement))
        connection = module.connect(dsn)
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return driver, cursor.fetchone()
        finally:
            connection.close()
    raise ProbeQueryError(
        "driver of PostgreSQL: got none in the worker's interpreter, expected psycopg, psycopg2 "
        "or asyncpg; do not use the task query there"
    )


async def _ask_asyncpg(module: Any, dsn: str, statement: str) -> Any:
    connection = await module.connect(dsn)
    try:
        return await connection.fetchrow(statement)
    finally:
        await connection.close()
