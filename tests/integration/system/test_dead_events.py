"""Dead events: their rows, their retries by a worker, and the operators' command."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.vendors import event, signed

from .api import StartApi
from .support import ROOT, Database, StartWorker, clean_environment, wait_for

A, B = str(uuid.UUID(int=0xA << 64)), str(uuid.UUID(int=0xB << 64))
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
RETRY = "app.tasks.maintenance.retry_dead_events"

CLAIM = "claim_dead_events(NULL, NULL, NULL, NULL, NULL, NULL, true, now(), 1, interval '1 s')"
SETTLE = (
    "settle_dead_event(gen_random_uuid(), gen_random_uuid(), true, NULL, NULL, NULL, NULL,"
    " interval '0', 1)"
)
STATE = "SELECT remediation_status, retry_count, error_kind, next_retry_at FROM dead_events"
AFTER = "remediation_status = 'pending' AND retry_count = %s"
LOCK = "LOCK TABLE attribution_events IN ACCESS EXCLUSIVE MODE"


def command(
    database: Database, *words: str, role: str = "app_rw", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the operators' command."""
    return subprocess.run(
        [sys.executable, "-m", "system.dead_events", *words],
        cwd=ROOT,
        env={**clean_environment(), "DATABASE_URL": database.dsn(role), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def insert(database: Database, tenant: str = A, number: int = 1, **columns: Any) -> str:
    """Insert a dead event that can be stored, and return its id."""
    values = {
        "tenant_id": tenant,
        "vendor": "shopify",
        "event_type": "orders/create",
        "event_id": f"delivery-{number}",
        "occurred_at": "2026-01-31T12:00:00Z",
        "error_type": "E",
        "error_kind": "transient",
        "payload": json.dumps(event("shopify", number)),
        "correlation_id": f"c-{number}",
        **columns,
    }
    names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, values))
    places = psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(values))
    with database.connect("postgres") as connection:
        row = connection.execute(
            psycopg.sql.SQL("INSERT INTO dead_events ({}) VALUES ({}) RETURNING id::text").format(
                names, places
            ),
            list(values.values()),
        ).fetchone()
    assert row is not None
    return str(row[0])


def state(database: Database, row_id: str) -> tuple[Any, ...]:
    """Return status, tries and kind of a row."""
    return tuple(database.rows(f"{STATE} WHERE id = %s", row_id)[0][:3])


def test_transient_failure_is_retried_until_it_is_stored(
    database: Database, start_api: StartApi, start_worker: StartWorker
) -> None:
    """An event that a lock keeps out is a dead event; its retries grow apart, and store it once."""
    api = start_api(database)
    api.path("shopify")
    worker = start_worker(database)
    with database.connect("postgres") as connection:
        connection.execute(LOCK)
        answer = api.send(signed("shopify", number=5), **{"x-correlation-id": "c-5"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert api.send(signed("shopify", number=5)).status_code == 503  # (the same row)
        pauses = []
        for tries in (1, 2):
            found = wait_for(
                partial(database.rows, f"{STATE} WHERE {AFTER}", tries),
                deadline_s=30,
            )
            assert found, worker.text()
            row = database.rows("SELECT next_retry_at - last_retry_at FROM dead_events")[0]
            pauses.append(row[0].total_seconds())
        assert pauses[1] > pauses[0] >= 2
        connection.rollback()
    resolved = wait_for(
        lambda: database.rows(f"{STATE} WHERE remediation_status = 'resolved'"), deadline_s=30
    )
    assert resolved, worker.text()
    assert database.rows("SELECT event_id, correlation_id FROM attribution_events") == [
        ("delivery-5", "c-5")
    ]
    job = wait_for(
        lambda: database.rows(
            "SELECT tenant_id::text, correlation_id FROM attribution_recompute_jobs"
        ),
        deadline_s=20,
    )
    assert job == [(api.tenant, "c-5")]
    assert api.send(signed("shopify", number=5)).status_code == 200
    line = worker.wait_for_line("dead event retried", correlation_id="c-5", tenant_id=api.tenant)
    assert line["event_id"] == "delivery-5"


@pytest.mark.parametrize(
    ("before", "after", "is_legal"),
    [
        ("pending", "in_progress", True),
        ("pending", "ignored", True),
        ("pending", "resolved", False),
        ("in_progress", "pending", True),
        ("in_progress", "resolved", True),
        ("in_progress", "ignored", True),
        *(
            (end, other, False)
            for end in ("resolved", "ignored")
            for other in ("pending", "in_progress", "resolved", "ignored")
            if other != end
        ),
    ],
)
def test_only_legal_moves_are_made(
    shared: Database, before: str, after: str, is_legal: bool
) -> None:
    """The trigger refuses every other move, for the superuser too."""
    row = insert(shared, event_id=str(uuid.uuid4()), remediation_status=before)
    move = "UPDATE dead_events SET remediation_status = %s WHERE id = %s RETURNING 1"
    if is_legal:
        assert shared.rows(move, after, row) == [(1,)]
    else:
        with pytest.raises(psycopg.errors.CheckViolation, match=f"from {before} to {after}"):
            shared.rows(move, after, row)


@pytest.mark.parametrize("column", ["id", "tenant_id", "vendor", "event_id"])
def test_identity_of_a_row_does_not_change(shared: Database, column: str) -> None:
    """A row cannot be given to another tenant or event."""
    row = insert(shared, event_id=str(uuid.uuid4()))
    change = psycopg.sql.SQL("UPDATE dead_events SET {} = %s WHERE id = %s RETURNING 1").format(
        psycopg.sql.Identifier(column)
    )
    with shared.connect("postgres") as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(change, (str(uuid.uuid4()), row))


def test_event_has_one_open_row(shared: Database) -> None:
    """A second open row of an event is refused; one after a resolved one is not."""
    name = str(uuid.uuid4())
    insert(shared, event_id=name, remediation_status="resolved")
    insert(shared, event_id=name)
    with pytest.raises(psycopg.errors.UniqueViolation, match="uq_dead_events_open"):
        insert(shared, event_id=name)
    insert(shared, tenant=B, event_id=name)


@pytest.mark.parametrize("role", ["app_user", "app_ingest", "app_rw", "app_ro"])
@pytest.mark.parametrize("table", ["dead_events", "webhook_endpoints", "attribution_events"])
def test_tenant_sees_its_own_rows(database: Database, role: str, table: str) -> None:
    """Each role sees the rows of its tenant, and without a tenant none."""
    for number, tenant in enumerate((A, A, B)):
        insert(database, tenant=tenant, number=number)
        with database.connect("postgres") as connection:
            connection.execute(
                "INSERT INTO webhook_endpoints (tenant_id, vendor, token_digest, secret_ref)"
                " VALUES (%s, 'stripe', %s, 's')",
                (tenant, str(number)),
            )
            connection.execute("INSERT INTO attribution_events (tenant_id) VALUES (%s)", (tenant,))
    for tenant, rows in ((A, 2), (B, 1), ("", 0)):
        with database.connect(role) as connection:
            connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", (tenant,))
            count = psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(table))
            assert connection.execute(count).fetchall() == [(rows,)]


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("app_ingest", "UPDATE attribution_events SET vendor = 'x'"),
        ("app_ingest", "DELETE FROM attribution_events"),
        ("app_ingest", "UPDATE dead_events SET claim = NULL"),
        ("app_ingest", "DELETE FROM dead_events"),
        ("app_ingest", "INSERT INTO webhook_endpoints DEFAULT VALUES"),
        ("app_ingest", "SELECT payload FROM kombu_message"),
        ("app_ingest", "DELETE FROM kombu_message"),
        ("app_ingest", "SELECT 1 FROM celery_taskmeta"),
        ("app_ingest", "SELECT 1 FROM worker_failed_jobs"),
        ("app_ingest", f"SELECT {CLAIM}"),
        ("app_ingest", "SELECT find_dead_events(NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1)"),
        ("app_ingest", "CREATE TABLE t ()"),
        ("app_user", "SELECT resolve_webhook_endpoint('x', 'stripe')"),
        ("app_user", "SELECT find_dead_events(NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1)"),
        ("app_user", "INSERT INTO dead_events DEFAULT VALUES"),
        ("app_ro", "SELECT move_dead_events('{}', 'ignored', NULL)"),
        ("app_rw", "UPDATE dead_events SET claim = NULL"),
    ],
)
def test_role_may_do_no_more(shared: Database, role: str, statement: str) -> None:
    """Each role holds the privileges of its work only."""
    with shared.connect(role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


@pytest.mark.parametrize(
    "call",
    [
        CLAIM,
        "find_dead_events(NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1)",
        "move_dead_events('{}', 'ignored', NULL)",
        SETTLE,
    ],
)
def test_functions_of_all_tenants_refuse_a_tenant(shared: Database, call: str) -> None:
    """A session with a tenant cannot use what works on the rows of all tenants."""
    refused = pytest.raises(psycopg.errors.InsufficientPrivilege, match="got a session of one")
    with shared.connect("app_rw") as connection:
        connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", (A,))
        with refused:
            connection.execute(f"SELECT {call}")


def test_operator_lists_and_shows(database: Database) -> None:
    """The command lists the rows of all tenants, filtered, and shows one with its payload."""
    first = insert(database, number=1)
    second = insert(database, tenant=B, number=2, error_kind="permanent", vendor="stripe")

    def listed(*words: str) -> list[str]:
        done = command(database, "list", "--json", *words, role="app_ro")
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["id"] for line in done.stdout.splitlines()]

    assert listed() == [first, second]
    assert listed("--tenant", B) == [second]
    assert listed("--vendor", "shopify") == [first]
    assert listed("--kind", "permanent", "--status", "pending") == [second]
    assert listed("--until", "2020-01-01") == []
    shown = json.loads(command(database, "show", first, "--json", role="app_ro").stdout)
    assert shown["payload"] == event("shopify", 1)
    assert "pending" in command(database, "list").stdout


def test_operator_retries_by_id(database: Database) -> None:
    """A named row is stored with its message, once, and resolved; again it is not pending."""
    row = insert(database, number=3)
    done = command(database, "retry", row)
    assert (done.returncode, "1 stored, 0 not stored" in done.stderr) == (0, True), done.stderr
    assert state(database, row) == ("resolved", 1, "transient")
    assert database.rows("SELECT event_id FROM attribution_events") == [("delivery-3",)]
    assert database.rows("SELECT count(*) FROM kombu_message") == [(1,)]
    again = command(database, "retry", row)
    assert (again.returncode, "0 stored" in again.stderr) == (1, True)


def test_event_that_was_delivered_meanwhile_resolves_its_row(database: Database) -> None:
    """A retry of an event that is stored already adds no row and no message."""
    row = insert(database, number=4)
    with database.connect("postgres") as connection:
        connection.execute(
            "INSERT INTO attribution_events (tenant_id, vendor, event_id)"
            " VALUES (%s, 'shopify', 'delivery-4')",
            (A,),
        )
    assert command(database, "retry", row).returncode == 0
    assert state(database, row)[0] == "resolved"
    assert database.rows("SELECT count(*) FROM attribution_events") == [(1,)]
    assert database.rows("SELECT count(*) FROM kombu_message") == [(0,)]


def test_event_that_still_breaks_the_contract_stays(database: Database) -> None:
    """A retry of a permanent failure leaves the row pending, with the reason, and not due."""
    payload = json.dumps(event("shopify", 5) | {"id": "no number"})
    row = insert(database, number=5, payload=payload)
    done = command(database, "retry", row)
    assert done.returncode == 1
    assert state(database, row) == ("pending", 1, "permanent")
    found = database.rows("SELECT error_message, next_retry_at FROM dead_events")[0]
    assert ("body/id: type" in found[0], found[1]) == (True, None)
    assert database.rows("SELECT count(*) FROM attribution_events") == [(0,)]


def test_rows_that_are_not_due_are_left_alone(database: Database) -> None:
    """A selection takes what is due; with --now it takes the others too, each once."""
    insert(database, number=1, next_retry_at="2100-01-01T00:00:00Z")
    insert(database, number=2)
    insert(database, number=3, next_retry_at="2020-01-01T00:00:00Z")
    assert "1 stored" in command(database, "retry", "--since", "1970-01-01").stderr
    assert "2 stored" in command(database, "retry", "--since", "1970-01-01", "--now").stderr


def test_two_retries_at_once_take_each_row_once(database: Database) -> None:
    """Two commands share the rows: each is stored once, by one of them."""
    for number in range(1, 41):
        insert(database, number=number)
    words = ("retry", "--since", "1970-01-01", "--now", "--json")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: command(database, *words), range(2)))
    taken = [json.loads(line) for one in done for line in one.stdout.splitlines()]
    assert [one for one in taken if one["error"]] == []
    assert len(taken) == len({one["id"] for one in taken}) == 40
    assert database.rows(
        "SELECT count(*), max(retry_count) FROM dead_events WHERE remediation_status = 'resolved'"
    ) == [(40, 1)]
    assert database.rows("SELECT count(*) FROM attribution_events") == [(40,)]


def test_claim_of_a_dead_retry_expires(database: Database) -> None:
    """A row whose retry never ended is taken by the next one, after its lease."""
    row = insert(
        database,
        remediation_status="in_progress",
        claim=str(uuid.uuid4()),
        claimed_until="2020-01-01T00:00:00Z",
        next_retry_at="2020-01-01T00:00:00Z",
    )
    assert "1 stored" in command(database, "retry", "--since", "1970-01-01").stderr
    assert state(database, row)[0] == "resolved"


def test_operator_resolves_and_ignores(database: Database) -> None:
    """Both leave the row with its note, and it is retried no more."""
    first, second = insert(database, number=1), insert(database, number=2)
    assert command(database, "resolve", first, "--note", "by hand").returncode == 0
    assert command(database, "ignore", "--vendor", "shopify", "--note", "test").returncode == 0
    assert database.rows(
        "SELECT id::text, remediation_status, remediation_notes, resolved_at IS NULL"
        " FROM dead_events ORDER BY event_id"
    ) == [(first, "resolved", "by hand", False), (second, "ignored", "test", True)]
    assert command(database, "ignore", first).returncode == 1


def test_move_of_many_rows_leaves_none(database: Database) -> None:
    """A selection of more rows than one statement moves is moved as a whole."""
    insert(database)
    with database.connect("postgres") as connection:
        connection.execute(
            "INSERT INTO dead_events (tenant_id, vendor, event_type, event_id, error_type)"
            " SELECT tenant_id, vendor, event_type, 'more-' || n, error_type"
            " FROM dead_events, generate_series(1, 10000) n"
        )
    done = command(database, "ignore", "--vendor", "shopify", "--json")
    assert (done.returncode, "10001 ignored" in done.stderr) == (0, True), done.stderr
    assert database.rows("SELECT DISTINCT remediation_status FROM dead_events") == [("ignored",)]


@pytest.mark.parametrize("status", ["pending", "in_progress", "other"])
def test_operators_function_moves_to_an_end_only(shared: Database, status: str) -> None:
    """No operator holds a row without a claim, which no retry would take again."""
    row = insert(shared, event_id=str(uuid.uuid4()))
    statement = "SELECT 1 FROM move_dead_events(ARRAY[%s]::uuid[], %s, NULL)"
    refused = pytest.raises(psycopg.errors.InvalidParameterValue, match="expected resolved or")
    with shared.connect("app_rw") as connection, refused:
        connection.execute(statement, (row, status))


def test_worker_schedules_the_retry(database: Database, start_worker: StartWorker) -> None:
    """A row that a killed retry left is stored by a worker without any other message."""
    past = "2020-01-01T00:00:00Z"
    claim = str(uuid.uuid4())
    claimed: dict[str, Any] = {"claim": claim, "claimed_until": past, "next_retry_at": past}
    row = insert(database, remediation_status="in_progress", **claimed)
    worker = start_worker(database, SYSTEM_DEAD_EVENT_EVERY_S="1")
    assert wait_for(lambda: state(database, row)[0] == "resolved"), worker.text()
    assert database.rows("SELECT count(*) FROM attribution_events") == [(1,)]


def test_masked_event_is_retried_with_the_key_only(database: Database, start_api: StartApi) -> None:
    """With a key the original is stored by a retry; without one the row stays, unharmed."""
    api = start_api(database, SYSTEM_DEAD_LETTER_KEYS=KEY)
    api.path("shopify")
    body = json.dumps({**event("shopify", 6), "token": "hunter-2"}).encode()
    with database.connect("postgres") as connection:
        connection.execute(LOCK)
        assert api.send(signed("shopify", body, number=6)).status_code == 503
        connection.rollback()
    row, payload = database.rows(
        "SELECT id::text, payload FROM dead_events WHERE tenant_id = %s", api.tenant
    )[0]
    assert payload["token"] == "[masked]"
    assert command(database, "retry", row).returncode == 1
    assert state(database, row)[0] == "pending"
    revealed = command(
        database, "show", row, "--reveal", "--json", SYSTEM_DEAD_LETTER_KEYS=KEY
    ).stdout
    assert json.loads(revealed)["payload"]["token"] == "hunter-2"
    done = command(database, "retry", row, SYSTEM_DEAD_LETTER_KEYS=KEY)
    assert done.returncode == 0, database.rows("SELECT error_message FROM dead_events")
    assert database.rows("SELECT payload FROM attribution_events")[0][0]["token"] == "hunter-2"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("retry",), "got no id and no option that selects"),
        (("show", "no-uuid"), "expected the UUID of a row"),
        (("list", "--vendor", "other"), "is not one of"),
        (("show", A), "row: got none with id"),
    ],
)
def test_wrong_usage_is_one_line(shared: Database, words: tuple[str, ...], text: str) -> None:
    """A wrong call gives a message and no traceback."""
    done = command(shared, *words)
    assert done.returncode in {1, 2}
    assert text in done.stderr
    assert "Traceback" not in done.stderr
