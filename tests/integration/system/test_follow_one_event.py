"""The page that follows one event: each line that it quotes has the shape of one that a run makes.

A shape is a line with its ids, times, numbers and tokens replaced.
"""

from __future__ import annotations

import json
import re
import uuid
from functools import partial

import httpx
import pytest

from tests.vendors import event, signed

from .api import Api, StartApi
from .support import ROOT, Database, StartWorker, Worker, wait_for

PAGE = ROOT / "docs/explanation/follow-one-event.md"
TABLES = ("attribution_events", "attribution_recompute_jobs", "worker_failed_jobs", "dead_events")
REPLACED = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"(?<=/webhooks/shopify/)\S+"), "TOKEN"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00"), "TIME"),
    (re.compile(r'(?<="event_id": ")[^"]+|(?<=webhook-id: )\S+'), "ID"),
    (re.compile(r"(?<=HTTP/)1\.1"), "1.1"),
    (re.compile(r'(?<="pid": )\d+|(?<="duration_s": )[\d.]+'), "NUMBER"),
)
_FAIL_JOB = """
CREATE FUNCTION refuse_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no job for this tenant'; END $$;
CREATE TRIGGER refuse_job BEFORE INSERT ON attribution_recompute_jobs
    FOR EACH ROW WHEN (NEW.correlation_id = '{}') EXECUTE FUNCTION refuse_job();
"""


def shape(line: str) -> str:
    """Return a line with what differs from run to run replaced."""
    for pattern, name in REPLACED:
        line = pattern.sub(name, line)
    return line.strip()


def quoted() -> list[str]:
    """Return the lines in the fenced blocks of the page, without the command for a shell."""
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line[:4] != "grep"]


def test_quoted_lines_are_like_those_of_a_run(
    database: Database, start_api: StartApi, start_worker: StartWorker
) -> None:
    """Request, answers, lines of both processes and rows are as the page quotes them."""
    api, worker = start_api(database), start_worker(database, "--pool", "solo")
    made = {
        shape(line) for line in [*sent_and_answered(api), *printed(api, worker), *rows(database)]
    }
    lines = quoted()
    assert len(lines) > 20
    assert [line for line in lines if shape(line) not in made] == []


def sent_and_answered(api: Api) -> list[str]:
    """Send the four deliveries of the page; return what a client shows of them."""
    names = {name: f"gate-{uuid.uuid4()}" for name in ("good", "fails", "broken", "unsigned")}
    with api.database.connect("postgres") as connection:
        connection.execute(_FAIL_JOB.format(names["fails"]))
    wrong = json.dumps(event("shopify", 3) | {"id": None}).encode()
    sent = {
        "good": signed("shopify", number=1),
        "fails": signed("shopify", number=2),
        "broken": signed("shopify", wrong, number=3),
        "unsigned": signed("shopify", number=4).but(x_shopify_hmac_sha256=None),
    }
    lines: list[str] = []
    for name, delivery in sent.items():
        lines += shown(api.send(delivery, **{"x-correlation-id": names[name]}))
    return lines


def shown(answer: httpx.Response) -> list[str]:
    """Return an exchange as the captures show it."""
    request = answer.request
    return [
        f"> {request.method} {request.url.path} HTTP/1.1",
        *(f"> {name}: {value}" for name, value in request.headers.items()),
        f"< HTTP/1.1 {answer.status_code}",
        *(f"< {name}: {value}" for name, value in answer.headers.items()),
        answer.text,
    ]


def printed(api: Api, worker: Worker) -> list[str]:
    """Return the lines of both processes, once the worker has printed the last one."""
    worker.wait_for_line("task succeeded", task_name="app.tasks.attribution.recompute_window")
    worker.wait_for_line("task failed")
    return [*api.text().splitlines(), *worker.text().splitlines()]


def rows(database: Database) -> list[str]:
    """Return the rows of the four tables, as psql would show them."""
    lines = ["tenant_id                            | correlation_id"]
    for table in TABLES:
        statement = f"SELECT tenant_id::text, correlation_id FROM {table}"
        found = wait_for(partial(database.rows, statement))
        assert found, table
        lines += [f"{tenant} | {correlation_id}" for tenant, correlation_id in found]
    return lines


@pytest.mark.parametrize("line", ['{"pid": 1, "status": 202}', "< HTTP/1.1 200"])
def test_shape_keeps_what_a_line_says(line: str) -> None:
    """Another status is another shape."""
    assert shape(line) != shape(line.replace("20", "50"))
