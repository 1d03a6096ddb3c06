"""Replay of a task that is a part of a workflow: the rest of the workflow follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from cryptography.fernet import Fernet

from .support import Client, Database, StartWorker, Worker, make_client, run_command, wait_for

QUEUE: dict[str, Any] = {"queue": "housekeeping", "routing_key": "housekeeping.task"}
INCLUDE = ("--include", "tests.integration.system.failing_tasks")
PING = "app.tasks.housekeeping.ping"
KEY = Fernet.generate_key().decode()
SECRET = "hunter2-hunter2"


@pytest.fixture(scope="module")
def worker(shared: Database, start_shared_worker: StartWorker) -> Worker:
    """Run a worker that knows the failing tasks, and has a key."""
    return start_shared_worker(shared, *INCLUDE, SYSTEM_DEAD_LETTER_KEYS=KEY)


@pytest.fixture(scope="module")
def client(shared: Database, worker: Worker) -> Iterator[Client]:  # noqa: ARG001 (must run)
    """Publish to that worker."""
    with make_client(shared) as made:
        yield made


def task(client: Client, name: str, *args: Any, **kwargs: Any) -> Any:
    """Return the call of a task in the queue of the worker, without the result of another."""
    return client.app.signature(name, args=args, kwargs=kwargs, immutable=True, options=QUEUE)


def row_of(database: Database, path: Path) -> dict[str, Any]:
    """Wait for the row of the task with a path as its argument, and return it."""
    query = "SELECT row_to_json(w) FROM worker_failed_jobs w WHERE kwargs ->> 'path' = %s"
    ((row,),) = wait_for(lambda: database.rows(query, str(path)))
    found: dict[str, Any] = row
    return found


def replay(database: Database, *words: str, status: int = 0) -> str:
    """Replay rows with the operators' command and the key, and return its output."""
    done = run_command(database, "replay", *words, SYSTEM_DEAD_LETTER_KEYS=KEY)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def is_resolved(database: Database, task_id: str) -> bool:
    """Wait until the row of a task is resolved."""
    query = "SELECT 1 FROM worker_failed_jobs WHERE task_id = %s AND status = 'resolved'"
    return bool(wait_for(lambda: database.rows(query, task_id)))


def lines_of(path: Path, count: int) -> list[str]:
    """Wait until a file has so many lines, and return them."""

    def read() -> list[str]:
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    wait_for(lambda: len(read()) >= count)
    return read()


def test_replay_continues_a_chain(shared: Database, client: Client, tmp_path: Path) -> None:
    """The tasks after the replayed one run in their order, and the chain's result is a success."""
    path, written = tmp_path / "runs", tmp_path / "written"
    first = task(client, "failing.until_healed", path=str(path))
    rest = [task(client, "failing.write", str(written), text) for text in ("second", "third")]
    last = chain(first, *rest, task(client, PING)).apply_async()
    first_id = row_of(shared, path)["task_id"]
    Path(f"{path}.healed").touch()
    replay(shared, first_id)
    assert is_resolved(shared, first_id)
    assert lines_of(written, 2) == ["second", "third"]
    succeeded = "SELECT 1 FROM celery_taskmeta WHERE task_id = %s AND status = 'SUCCESS'"
    assert wait_for(lambda: shared.rows(succeeded, last.id))


def test_replay_starts_a_chord_behind_it(shared: Database, client: Client, tmp_path: Path) -> None:
    """A group after the replayed task runs with the task after the group, as a chord."""
    path, written = tmp_path / "runs", tmp_path / "written"
    first = task(client, "failing.until_healed", path=str(path))
    member = task(client, "failing.write", str(written), "member")
    last = task(client, "failing.write", str(written), "last")
    chain(first, group(member, member), last).apply_async()
    row = row_of(shared, path)
    assert row["replayable"] is True
    Path(f"{path}.healed").touch()
    replay(shared, row["task_id"])
    assert is_resolved(shared, row["task_id"])
    assert lines_of(written, 3) == ["member", "member", "last"]


def test_replay_calls_links_and_error_links(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """A replay that fails calls the error link, and one that succeeds the link."""
    path, written = tmp_path / "runs", tmp_path / "written"
    links = {
        "link": task(client, "failing.write", str(written), "link"),
        "link_error": task(client, "failing.write", str(written), "error"),
    }
    task_id = task(client, "failing.until_healed", path=str(path)).apply_async(**links).id
    assert row_of(shared, path)["task_id"] == task_id
    assert lines_of(written, 1) == ["error"]
    replay(shared, task_id)
    assert lines_of(written, 2) == ["error", "error"]
    Path(f"{path}.healed").touch()
    again = "SELECT 1 FROM worker_failed_jobs WHERE task_id = %s AND status = 'pending'"
    assert wait_for(lambda: shared.rows(again, task_id))
    replay(shared, task_id)
    assert is_resolved(shared, task_id)
    assert lines_of(written, 3) == ["error", "error", "link"]


def test_replay_sends_what_the_message_was(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """Time limits, group, root, parent, shadow and headers are those of the first message."""
    path = tmp_path / "runs"
    first = task(client, "failing.reporting", path=str(path))
    options = {"time_limit": 33, "soft_time_limit": 22, "shadow": "known as", "expires": 3600}
    sent: Any = group(first.set(**options, headers={"x-note": "kept"})).apply_async()
    task_id = sent.results[0].id
    assert row_of(shared, path)["task_id"] == task_id
    Path(f"{path}.healed").touch()
    replay(shared, task_id)
    assert is_resolved(shared, task_id)
    before, after = (json.loads(line) for line in lines_of(path, 2))
    assert before == after
    assert (before["timelimit"], before["group"]) == ([33, 22], sent.id)
    assert (before["note"], before["shadow"], before["expires"]) == ("kept", "known as", True)


def test_secret_of_a_later_task_is_encrypted(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """A secret in the arguments of a chained task is masked in the row, and replayed."""
    path, written = tmp_path / "runs", tmp_path / "written"
    first = task(client, "failing.until_healed", path=str(path))
    later = task(client, "failing.write", str(written), f"token={SECRET}")
    chain(first, later).apply_async()
    row = row_of(shared, path)
    assert SECRET not in json.dumps(row)
    assert (row["replayable"], bool(row["sealed"])) == (True, True)
    Path(f"{path}.healed").touch()
    replay(shared, row["task_id"])
    assert lines_of(written, 1) == [f"token={SECRET}"]


def test_row_of_a_secret_workflow_without_a_key_is_not_replayable(
    database: Database, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Without a key the rest of the workflow would be lost: the row says so."""
    start_worker(database, *INCLUDE)
    with make_client(database) as client:
        first = task(client, "failing.until_healed", path=str(tmp_path / "runs"))
        later = task(client, "failing.write", path="x", text=f"token={SECRET}")
        chain(first, later).apply_async()
        row = row_of(database, tmp_path / "runs")
    assert (row["replayable"], row["sealed"]) == (False, None)
    assert "sensitive values are masked" in row["notes"]
    assert SECRET not in json.dumps(row)


@pytest.mark.parametrize("depth", ["member", "start of a member"])
def test_row_of_a_chord_is_not_replayable(
    shared: Database, client: Client, tmp_path: Path, depth: str
) -> None:
    """A replay cannot complete a chord whose body has failed already: the row says so."""
    first = task(client, "failing.until_healed", path=str(tmp_path / "runs"))
    member = first if depth == "member" else chain(first, task(client, PING))
    chord([member, task(client, PING)], task(client, PING)).apply_async()
    row = row_of(shared, tmp_path / "runs")
    assert row["replayable"] is False
    assert "part of a chord" in row["notes"]
    assert "cannot be replayed: see show" in replay(shared, row["task_id"], status=1)


def test_expired_task_is_replayed_by_its_name_only(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """A selection leaves out a row whose message has expired; its id replays it."""
    path = tmp_path / "runs"
    soon = datetime.now(UTC) + timedelta(seconds=2)
    first = task(client, "failing.until_healed", path=str(path))
    task_id = first.apply_async(expires=soon).id
    assert row_of(shared, path)["task_id"] == task_id
    Path(f"{path}.healed").touch()
    assert wait_for(lambda: datetime.now(UTC) > soon)
    replay(shared, "--now", "--task", "failing.until_healed")
    assert shared.rows("SELECT status FROM worker_failed_jobs WHERE task_id = %s", task_id) == [
        ("pending",)
    ]
    replay(shared, task_id)
    assert is_resolved(shared, task_id)
