"""Secrets in arguments and errors: a dead-letter row and the log show none of them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from .support import Client, Database, StartWorker, Worker, make_client, wait_for

QUEUE: dict[str, Any] = {"queue": "housekeeping", "routing_key": "housekeeping.task"}
INCLUDE = ("--include", "tests.integration.system.failing_tasks")


@pytest.fixture(scope="module")
def worker(shared: Database, start_shared_worker: StartWorker) -> Worker:
    """Run a worker that knows the failing tasks."""
    return start_shared_worker(shared, *INCLUDE)


@pytest.fixture(scope="module")
def client(shared: Database, worker: Worker) -> Iterator[Client]:  # noqa: ARG001 (must run)
    """Publish to that worker."""
    with make_client(shared) as made:
        yield made


def hidden_in(secret: str) -> dict[str, Any]:
    """Return arguments that hold a secret, by the place or the form that shows it."""
    return {
        "a URL": {"database_url": f"postgresql://app:{secret}@db.example/app"},
        "a URL under a plain name": {"target": f"amqp://guest:{secret}@mq.example:5672//"},
        "a URL in a sentence": {"note": f"connect to redis://:{secret}@cache.example/0, then stop"},
        "a key of two words": {"api_key": secret},
        "the same in one word": {"apikey": secret},
        "a cookie": {"headers": {"Cookie": f"session={secret}"}},
        "a pair": {"headers": [["Authorization", f"Bearer {secret}"]]},
        "a pair under a plain name": {"headers": [["X-Api-Key", secret]]},
        "a bearer token": {"header": f"Bearer {secret}"},
        "named objects": {"variables": [{"name": "API_KEY", "value": secret}]},
        "objects in a list": {"accounts": [{"id": 1, "login": [{"password": secret}]}]},
        "an option": {"command": ["client", "--password", secret]},
        "an assignment": {"command": f"client --token={secret} --quiet"},
        "JSON in a text": {"body": json.dumps({"access_token": secret, "n": 1})},
        "a key of an object": {"by_url": {f"postgresql://app:{secret}@db.example/app": 1}},
        "a repeated value": {"password": secret, "line": f"login with {secret}"},
    }


CASES = tuple(hidden_in(""))


@pytest.mark.parametrize("how", CASES)
def test_secret_in_keyword_arguments_is_nowhere_in_clear(
    shared: Database, client: Client, worker: Worker, how: str
) -> None:
    """Neither the row nor the log shows a secret that is in an argument and in the error."""
    secret = f"s3cret-{secrets.token_hex(8)}"
    named = hidden_in(secret)[how]
    check(shared, worker, client.send("failing.repeat_arguments", named, **QUEUE), secret)


@pytest.mark.parametrize("how", CASES)
def test_secret_in_positional_arguments_is_nowhere_in_clear(
    shared: Database, client: Client, worker: Worker, how: str
) -> None:
    """The same holds for an object that is a positional argument."""
    secret = f"s3cret-{secrets.token_hex(8)}"
    given = [[hidden_in(secret)[how]]]
    sent = client.app.send_task("failing.repeat_arguments", args=given, **QUEUE)
    check(shared, worker, sent.id, secret)


def test_secret_in_the_error_alone_is_nowhere_in_clear(
    shared: Database, client: Client, worker: Worker
) -> None:
    """A secret that only the error shows is masked by its form."""
    secret = f"s3cret-{secrets.token_hex(8)}"
    halves = {"first": secret[:10], "second": secret[10:]}
    check(shared, worker, client.send("failing.join_halves", halves, **QUEUE), secret)


def check(database: Database, worker: Worker, task_id: str, secret: str) -> None:
    """Wait for the row of a task, and assert that it and the log hold no secret."""
    query = "SELECT row_to_json(w) FROM worker_failed_jobs w WHERE task_id = %s"
    ((row,),) = wait_for(lambda: database.rows(query, task_id))
    assert row["exception_class"] == "LookupError"
    assert secret not in json.dumps(row)
    line = worker.wait_for_line("task failed", task_id=task_id)
    assert "LookupError" in line["error"]
    assert secret not in worker.text()
