"""The service's processes: start and stop, faults of the database, limits, and metrics."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.vendors import signed

from .api import Api, StartApi, pause
from .support import LINE_WITHIN_S, ROOT, Database, clean_environment, wait_for

DEADLINE_S = 3.0
HEAD = (
    b"POST /webhooks/shopify/q7Jt2vK9xY4mB1nR8sW3uA HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
)
SLACK_S = 2.0
"""For a machine that does other things too."""


def test_help_is_shown_without_settings() -> None:
    """`--help` names every setting and needs none."""
    done = subprocess.run(
        [sys.executable, "-m", "system.api", "--help"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "SYSTEM_WEBHOOK_SECRETS" in done.stdout


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL: got nothing"),
        ({"SYSTEM_API_PROCESSES": "0"}, "SYSTEM_API_PROCESSES: got '0'"),
        ({"SYSTEM_API_DEADLINE_S": "x"}, "SYSTEM_API_DEADLINE_S: got 'x'"),
        ({"SYSTEM_METRICS_TENANT_LABEL": "x"}, "SYSTEM_METRICS_TENANT_LABEL: got 'x'"),
        (
            {"CELERY_BROKER_URL": "sqla+postgresql://u:hidden@127.0.0.1:1/other"},
            "CELERY_BROKER_URL: got another database",
        ),
        ({"CELERY_BROKER_URL": "memory://"}, "CELERY_BROKER_URL: got another database"),
        ({"SYSTEM_API_ADDRESS": "192.0.2.1"}, "expected a free port"),
    ],
)
def test_wrong_setting_is_one_line(
    shared: Database, start_api: StartApi, environment: dict[str, str], message: str
) -> None:
    """A setting that cannot be used ends the service with status 1 and one line that names it."""
    api = start_api(shared, ready=False, **environment)
    assert api.process.wait(LINE_WITHIN_S) == 1
    assert message in api.lines("api not started")[0]["error"]
    assert "hidden" not in api.text()


def test_port_in_use_ends_the_service(shared: Database, start_api: StartApi) -> None:
    """A port that another program has ends the service before it serves."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        api = start_api(shared, ready=False, SYSTEM_API_PORT=str(port))
        assert api.process.wait(LINE_WITHIN_S) == 1
    assert f"port {port}, expected a free port" in api.lines("api not started")[0]["error"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_service_stops_cleanly(shared: Database, start_api: StartApi, sent: signal.Signals) -> None:
    """A signal ends all processes with status 0, and leaves no process, port or folder."""
    api = start_api(shared, SYSTEM_API_PROCESSES="2")
    processes = api.processes()
    assert api.send(signed("shopify", number=1)).status_code in {200, 202}
    assert api.stop(sent) == 0
    assert [one for one in processes if one.is_running()] == []
    assert list(api.folder.glob("system-worker-metrics-*")) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{api.url}/health")
    assert api.lines("api stopped")[0]["exit_status"] == 0


def test_metrics_are_served_before_the_first_event(shared: Database, start_api: StartApi) -> None:
    """A scrape of a service that has received nothing shows its series at zero."""
    answer = httpx.get(f"{start_api(shared).url}/metrics")
    assert answer.status_code == 200
    assert 'ingestion_duration_seconds_count{vendor="stripe"} 0.0' in answer.text


def test_metrics_of_processes_add_up(shared: Database, start_api: StartApi) -> None:
    """Counts are those of all processes, and do not fall when one dies."""
    api = start_api(shared, SYSTEM_API_PROCESSES="2", SYSTEM_METRICS_TENANT_LABEL="0")
    api.path("shopify")

    def send(number: int) -> int:
        sent = signed("shopify", number=number)
        path = api.path("shopify")
        return httpx.post(
            path, content=sent.body, headers=dict(sent.headers), timeout=20
        ).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(send, range(100, 120))) == {202}
    counts = [httpx.get(f"{api.url}/metrics").text for _ in range(4)]
    totals = {line for text in counts for line in text.splitlines() if "ingested_total{" in line}
    assert totals == {
        'events_ingested_total{event_type="orders/create",tenant_id="",vendor="shopify"} 20.0'
    }
    died = api.processes()[0]
    died.kill()
    assert wait_for(lambda: len(api.lines("api ready")) == 3, deadline_s=LINE_WITHIN_S)
    assert api.metric("events_ingested_total{") == 20
    assert send(120) == 202
    assert api.metric("events_ingested_total{") == 21
    assert died.pid not in {one.pid for one in api.processes()}


def test_processes_end_with_their_parent(shared: Database, start_api: StartApi) -> None:
    """When the parent is killed its processes end too."""
    api = start_api(shared, SYSTEM_API_PROCESSES="2")
    processes = api.processes()
    api.process.kill()
    api.process.wait(10)
    assert wait_for(
        lambda: not [one for one in processes if one.is_running() and one.status() != "zombie"],
        deadline_s=10,
    )


@pytest.mark.parametrize("fault", ["stopped", "paused"])
def test_database_away_gives_503_in_time(
    database: Database, start_api: StartApi, fault: str
) -> None:
    """Without the database nothing is acknowledged; the next delivery after its return is one row.

    A stopped server refuses, and a paused one does not answer at all. What was acknowledged before
    the server is killed is there after it, although this server does not wait for its log.
    """
    api = start_api(database)
    sent = signed("shopify", number=9)
    assert api.send(signed("shopify", number=8)).status_code == 202
    server = database.server
    if fault == "stopped":
        server.stop()
    else:
        pause(server, sent=signal.SIGSTOP)
    try:
        for _ in range(3):
            began = time.monotonic()
            answer = api.send(sent)
            assert time.monotonic() - began < DEADLINE_S + SLACK_S
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.headers["content-type"] == "application/problem+json"
        health = api.client.get(f"{api.url}/health")
        assert health.json() == {"status": "unhealthy", "broker": "error", "database": "error"}
        assert health.status_code == 503
    finally:
        if fault == "stopped":
            server.start()
        else:
            pause(server, sent=signal.SIGCONT)
    assert wait_for(lambda: api.send(sent).status_code in {200, 202}, deadline_s=20)
    assert api.send(sent).status_code == 200
    assert database.rows("SELECT event_id FROM attribution_events ORDER BY 1") == [
        ("delivery-8",),
        ("delivery-9",),
    ]
    assert api.client.get(f"{api.url}/health").status_code == 200


def _sent_slowly(api: Api, first: bytes, more: bytes) -> float:
    """Send bytes one by one until the service closes the connection; return the seconds."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", api.port), timeout=1) as client:
        client.sendall(first)
        while time.monotonic() - began < 20:
            try:
                client.sendall(more)
                client.settimeout(0.2)
                if not client.recv(4096):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"", b"G"),
        (b"POST /webhooks/shopify/x HTTP/1.1\r\nHost: x\r\nX: ", b"a"),
        (HEAD, b" "),
    ],
    ids=["no line", "head", "body"],
)
def test_slow_client_is_cut_off(
    shared: Database, start_api: StartApi, first: bytes, more: bytes
) -> None:
    """A client that sends a byte now and then loses its connection within its time."""
    api = start_api(shared)
    assert _sent_slowly(api, first, more) < 5 + 1 + 2 * SLACK_S
    assert api.client.get(f"{api.url}/health").status_code == 200


def test_many_connections_at_once_are_served_or_refused(
    database: Database, start_api: StartApi
) -> None:
    """Of 300 deliveries at once each is 202 or 503, and each 202 is a row."""
    api = start_api(database)
    path = api.path("shopify")

    def send(number: int) -> tuple[int, int]:
        sent = signed("shopify", number=number)
        answer = httpx.post(path, content=sent.body, headers=dict(sent.headers), timeout=60)
        return number, answer.status_code

    with ThreadPoolExecutor(100) as pool:
        answers = dict(pool.map(send, range(1, 301)))
    assert set(answers.values()) <= {202, 503}
    taken = {f"delivery-{number}" for number, status in answers.items() if status == 202}
    stored = {row[0] for row in database.rows("SELECT event_id FROM attribution_events")}
    assert taken
    assert taken <= stored
