"""Gate dlq: secrets that no top-level key names, in rows, log lines and files of the spool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateproof import (
    POOL_SOLO,
    Ids,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    premise,
    source,
    wait_until,
)

from .test_secrets import RECOMPUTE, UNREACHABLE, whole_row

MASKING, TASK_LOG = "system/dead_letters/masking.py", "system/observability/task_log.py"

LINES_DEADLINE_S = 30.0

# Report errors to the system's result backend in a process without a reachable database, and
# print what it keeps on disk instead.
_KEPT_ON_DISK = """
import contextlib, json, os, pathlib, sys, tempfile
folder = os.environ["SYSTEM_DEAD_LETTER_SPOOL"] = tempfile.mkdtemp()
from celery.app.task import Context
from system.app import app
app.backend.max_retries = 0
for name, text in json.loads(sys.argv[1]).items():
    call = {"id": name, "task": "a.task", "args": [], "kwargs": {}, "headers": {}}
    with contextlib.suppress(Exception):
        app.backend.mark_as_failure(name, ValueError(text), request=Context(call))
print(json.dumps([path.read_text() for path in pathlib.Path(folder).rglob("*.json")]))
"""


def hidden_in(secret: str) -> dict[str, Any]:
    """Return values that hold a secret, by what shows that they do."""
    return {
        "password of a URL": f"amqp://app:{secret}@mq.example",
        "URL in a list": [{"targets": [f"redis://:{secret}@cache.example/0"]}],
        "bearer token": {"header": f"Bearer {secret}"},
        "pair": {"headers": [["Accept", "*/*"], ["X-Api-Key", secret]]},
        "named value": [{"name": "API_KEY", "value": secret}],
        "key of two words": {"deep": [{"api_key": secret}]},
        "option": ["client", "--password", secret],
        "assignment": f"host=db password={secret} dbname=app",
        "JSON": json.dumps({"access_token": secret}),
    }


def calls_with(secret: str) -> dict[str, tuple[Any, Any]]:
    """Return the times and versions of calls: one of them, or both, hold a secret."""
    by_form = {name: (value, value) for name, value in hidden_in(secret).items()}
    return {**by_form, "repeated": (f"login with {secret}", {"token": secret})}


@criterion(
    "DLQ-18",
    needs=("database", "celery", "worker", "ping", "task", "tenancy", "dead_letters", "logs"),
)
@falsified_by(
    source(
        "names-only",
        MASKING,
        "        if len(text) < SHORTEST_SECRET:\n",
        "        if text:\n",
    ),
    expect=(
        "secrets in clear",
        "dead-letter rows",
        "got password of a URL in args, password of a URL in kwargs",
    ),
)
@falsified_by(
    source(
        "no-pairs",
        MASKING,
        "masked.append(self.value(item, key=_NAMED_ELSEWHERE if follows else name))",
        "masked.append(self.value(item, key=name))",
    ),
    expect=("secrets in clear", "dead-letter rows", "got pair in args"),
)
@falsified_by(
    source(
        "first-level-only",
        MASKING,
        "masked[shown] = self.value(item, key=name)",
        "masked[shown] = MASK if self.is_sensitive(name) else item",
    ),
    expect=("secrets in clear", "dead-letter rows", "got password of a URL in kwargs, URL"),
)
@falsified_by(
    source(
        "positional-as-they-are",
        MASKING,
        "masked = self._items(given, parameters_of(task, len(given)))",
        "masked = given",
    ),
    expect=("secrets in clear", "dead-letter rows", "got password of a URL in args, URL"),
)
@falsified_by(
    source(
        "error-literally",
        MASKING,
        "storable(self._literal(self._forms(self._literal(text), prose=True)))",
        "storable(self._literal(text))",
    ),
    expect=("secrets in clear", "rows on disk of an error alone", "got password of a URL"),
)
@falsified_by(
    source(
        "line-as-it-is",
        TASK_LOG,
        'return mask.text(f"{name}: {message_of(error)}")',
        'return f"{name}: {message_of(error)}"',
    ),
    expect=("secrets in clear", "log lines", "got bearer token in args"),
)
def test_secrets_are_masked_by_their_form_too(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Rows, files of the spool and log lines show no secret, whatever shows that it is one."""
    stack, sent = own_stack, dict[str, tuple[str, str]]()
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        for name in calls_with(""):
            for way in ("args", "kwargs"):
                secret = ids.slug("hidden")
                call = calls_with(secret)[name]
                sent[f"{name} in {way}"] = (publish(stack, str(ids.uuid()), *call, way), secret)
        logged = wait_until(
            lambda: failures_in(worker, sut),
            lambda seen: seen >= {task_id for task_id, _ in sent.values()},
            deadline_s=LINES_DEADLINE_S,
        )
        premise("failures in the log", got=len(logged), expected=len(sent), relation="at_least")
        log = "\n".join(worker.log().lines)

    rows = {name: whole_row(stack, task_id) for name, (task_id, _) in sent.items()}
    seen = [name for name, (_, secret) in sent.items() if secret in rows[name]]
    claim("secrets in clear", on="dead-letter rows", got=seen, expected=[], over=sent)
    seen = [name for name, (_, secret) in sent.items() if secret in log]
    claim("secrets in clear", on="log lines", got=seen, expected=[], over=sent)

    errors = {name: ids.slug("hidden") for name in hidden_in("")}
    texts = {name: str(hidden_in(secret)[name]) for name, secret in errors.items()}
    kept, on = kept_on_disk(stack, texts), "rows on disk of an error alone"
    claim("rows by their errors", on=on, got=set(kept), expected=set(texts))
    seen = [name for name, secret in errors.items() if secret in kept.get(name, "")]
    claim("secrets in clear", on=on, got=seen, expected=[], over=errors)


def publish(stack: Stack, tenant: str, start: Any, version: Any, way: str) -> str:
    """Publish a task that fails for its start, which its error repeats; return its id."""
    names = (stack.sut.tenancy.key, "window_start", "window_end", "model_version")
    values = (tenant, start, "2026-01-02T00:00:00+00:00", version)
    if way == "args":
        return stack.tasks.publish(RECOMPUTE, values)
    return stack.tasks.publish(RECOMPUTE, kwargs=dict(zip(names, values, strict=True)))


def failures_in(worker: Worker, sut: Sut) -> set[str]:
    """Return the ids of the tasks whose failure a worker has logged."""
    lines = worker.log().matching(**{sut.logs.message: sut.logs.failure})
    return {str(line.get(sut.logs.task_id)) for line in lines}


def kept_on_disk(stack: Stack, errors: Mapping[str, str]) -> dict[str, str]:
    """Return what a process of the system keeps on disk of failures, by the name of each."""
    how = stack.sut.worker
    done = stack.process.run(
        [*stack.sut.fill(["{python}", "-c"]), _KEPT_ON_DISK, json.dumps(errors)],
        env={**how.env, **dict.fromkeys(how.dsn, UNREACHABLE), **stack.settings},
        folder=stack.sut.folder,
    )
    premise("exit status of a program without a database", got=done.exit_status, expected=0)
    kept: list[str] = json.loads(done.output.splitlines()[-1])
    return {json.loads(text)["identity"]["task_id"]: text for text in kept}
