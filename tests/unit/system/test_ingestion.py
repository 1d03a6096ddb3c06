"""Bodies, contracts, windows and dead events, without a database."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, OperationalError

from system.api.application import Parts, _Application
from system.api.delivery import correlation_id_of
from system.api.vendors import vendors_with
from system.contracts.reading.contract import load
from system.contracts.reading.document import Library
from system.contracts.reading.operation import operations
from system.dead_letters.encryption import Cipher
from system.errors import IngestionError
from system.ingestion import dead_event
from system.ingestion.body import MOST_LEVELS, UnreadableError, read_json
from system.ingestion.contract import CONTRACTS, contract_of
from system.ingestion.event import window_of
from system.transport.joined import is_same_database
from tests.vendors import VENDORS, event, signed

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

UNREADABLE = {
    "no JSON": (b"id=1", "no JSON"),
    "empty": (b"", "no JSON"),
    "two values": (b"{} {}", "no JSON"),
    "no UTF-8": (b'{"a": "\xff"}', "no UTF-8"),
    "UTF-16": ("{}".encode("utf-16"), "no UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf{}", "no JSON"),
    "surrogate in bytes": (b'"\xed\xa0\x80"', "no UTF-8"),
    "10,000 levels of lists": (b"[" * 10_000 + b"]" * 10_000, "levels"),
    "10,000 levels of objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "levels"),
    "brackets without an end": (b"[" * 1_000_000, "levels"),
    "one level too many": (b"[" * (MOST_LEVELS + 1) + b"]" * (MOST_LEVELS + 1), "levels"),
    "key twice": (b'{"a": 1, "a": 2}', "key twice"),
    "key twice, spelt otherwise": (b'{"a": 1, "\\u0061": 2}', "key twice"),
    "key twice, deep": (b'[{"x": {"a": 1, "a": 1}}]', "key twice"),
    "NUL in a value": (b'{"a": "x\\u0000"}', "NUL"),
    "NUL in a key": (b'{"\\u0000": 1}', "NUL"),
    "raw NUL": (b'{"a": "\x00"}', "no JSON"),
    "half of a pair": (b'["\\ud800"]', "surrogate"),
    "number beyond a float": (b"1e400", "beyond a float"),
    "negative number beyond a float": (b"[-1e999]", "beyond a float"),
    "5,000 digits": (b"9" * 5_000, "beyond a float"),
    "309 digits": (b"1" * 309, "beyond a float"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "infinity": (b"[-Infinity]", "NaN or an infinity"),
    "control character": (b'"\n"', "no JSON"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_body_is_refused(name: str) -> None:
    """A body that parsers disagree about, or a database cannot store, is refused in a second."""
    raw, why = UNREADABLE[name]
    began = time.monotonic()
    with pytest.raises(UnreadableError, match=why):
        read_json(raw)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": [1, -2.5, True, None, "ü 😀"]},
        "[" * 1000,
        {"[{": '"' * 99 + "\\"},
        10**307,
        1e308,
    ],
)
def test_readable_body_is_read(value: object) -> None:
    """Ordinary JSON is read as it is; a bracket in a text is no level."""
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_levels_are_no_count_of_brackets() -> None:
    """Many lists next to each other are no deep nesting, and the deepest allowed one is read."""
    assert len(read_json(b"[" + b"[]," * 10_000 + b"[]]")) == 10_001
    assert read_json(b"[" * MOST_LEVELS + b"]" * MOST_LEVELS)


@pytest.mark.parametrize("vendor", VENDORS)
def test_contract_accepts_the_vendors_event(vendor: str) -> None:
    """The event that a vendor documents breaks no rule of its contract."""
    assert contract_of(vendor).findings(signed(vendor).headers, event(vendor)) == []


@pytest.mark.parametrize("vendor", VENDORS)
def test_contract_accepts_its_own_example(vendor: str) -> None:
    """The example of the released contract breaks no rule of it."""
    path = CONTRACTS / vendor / "baselines" / "v1.0.0" / "openapi.json"
    operation = json.loads(path.read_text())["paths"][f"/webhooks/{vendor}/{{endpoint}}"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert contract_of(vendor).body_findings(example) == []


SECRET_VALUE = "s3cr3t-value"


@pytest.mark.parametrize(
    ("vendor", "change", "place"),
    [
        ("shopify", {"total_price": SECRET_VALUE}, "body/total_price: pattern"),
        ("shopify", {"created_at": "2026-02-30T00:00:00Z"}, "body/created_at: format"),
        ("shopify", {"created_at": "2026-01-31 12:00"}, "body/created_at: format"),
        ("shopify", {"id": 2**63}, "body/id: format"),
        ("shopify", {"id": True}, "body/id: type"),
        ("stripe", {"id": SECRET_VALUE}, "body/id: pattern"),
        ("stripe", {"created": -1}, "body/created: minimum"),
        ("stripe", {"data": {}}, "body/data: required"),
        ("paypal", {"resource": SECRET_VALUE}, "body/resource: type"),
        ("woocommerce", {"currency": SECRET_VALUE}, "body/currency: pattern"),
    ],
)
def test_contract_names_the_rule_and_no_value(
    vendor: str, change: dict[str, Any], place: str
) -> None:
    """A finding has the place and the rule, and never what was sent."""
    findings = contract_of(vendor).body_findings(event(vendor) | change)
    assert [one for one in findings if one.startswith(place)], findings
    assert SECRET_VALUE not in "".join(findings)


def test_contract_demands_its_headers() -> None:
    """A missing header is a finding, and so is one of another form."""
    contract = contract_of("shopify")
    assert contract.findings({}, event("shopify")) == [
        "x-shopify-webhook-id: missing",
        "x-shopify-topic: missing",
    ]
    wrong = {**signed("shopify").headers, "x-shopify-topic": "Orders Created"}
    assert "x-shopify-topic: pattern" in contract.findings(wrong, event("shopify"))[0]


def test_service_has_the_operations_of_the_contracts(tmp_path: Path) -> None:
    """The service generates a document with the operations of the contracts, and no other."""
    receiver: Any = SimpleNamespace(vendors=vendors_with(tmp_path))
    nothing: Any = None
    parts = Parts(
        receiver=receiver,
        health=nothing,
        metrics=nothing,
        threads=1,
        deadline_s=1,
        client_s=1,
        started=lambda: None,
        stopped=lambda: None,
    )
    library = Library(CONTRACTS.parent)
    domains = ("health", *(f"webhooks/{vendor}" for vendor in VENDORS))
    promised = {one.route for domain in domains for one in load(library, domain).operations}
    served = {one.route for one in operations(_Application(parts).routes().openapi())}
    assert served == promised


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-01-31T23:59:59.999999+00:00", "2026-01-31"),
        ("2026-01-31T23:30:00-02:00", "2026-02-01"),
        ("2026-02-01T00:30:00+01:00", "2026-01-31"),
    ],
)
def test_window_is_the_day_in_utc(moment: str, day: str) -> None:
    """An event belongs to its day in UTC, whatever its offset."""
    start, end = window_of(datetime.fromisoformat(moment))
    assert start == datetime.fromisoformat(f"{day}T00:00:00+00:00")
    assert end - start == timedelta(days=1)


def test_pauses_grow_to_an_hour() -> None:
    """Each pause is between once and one and a half times a second, doubled by each retry."""
    for retries in range(30):
        pause = dead_event.pause_after(retries).total_seconds()
        assert min(2**retries, 3600) <= pause <= min(1.5 * 2**retries, 3600)


class _Cause(psycopg2.OperationalError):
    pgcode = "57014"


@pytest.mark.parametrize(
    ("error", "kind", "is_away"),
    [
        (OperationalError("s", {}, psycopg2.OperationalError("connection refused")), 1, True),
        (OperationalError("s", {}, _Cause("statement timeout")), 1, False),
        (BrokerError("away"), 1, False),
        (DataError("s", {}, type("E", (psycopg2.DataError,), {"pgcode": "22P05"})("x")), 0, False),
        (IngestionError("contract"), 0, False),
    ],
)
def test_kind_of_an_error_decides_about_a_retry(error: Exception, kind: int, is_away: bool) -> None:
    """Errors of connection and time are transient; a row is written if the server answers."""
    assert dead_event.kind_of(error) == ("permanent", "transient")[kind]
    assert dead_event.is_away(error) == is_away


def failed(value: Any, error: BaseException | None = None) -> dead_event.Failed:
    """Return a failed event with a body."""
    return dead_event.Failed(
        tenant_id=uuid.uuid4(),
        vendor="shopify",
        event_type="orders/create",
        event_id="e",
        occurred_at=datetime.now(UTC),
        text=json.dumps(value),
        value=value,
        correlation_id="c",
        error=error or BrokerError("away"),
    )


def test_row_without_secrets_keeps_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body in which nothing is masked is kept as it was sent, and retried."""
    monkeypatch.delenv("SYSTEM_DEAD_LETTER_KEYS", raising=False)
    row = dead_event.row_of(failed({"id": 1, "total": "1.10"}))
    assert (row["payload"], row["sealed"]) == ('{"id": 1, "total": "1.10"}', None)
    assert row["replayable"]
    assert row["next_retry_at"] > row["failed_at"]


def test_row_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key a masked event cannot be retried, and its row says so."""
    monkeypatch.delenv("SYSTEM_DEAD_LETTER_KEYS", raising=False)
    value = {"id": 1, "token": SECRET_VALUE, "note": f"uses {SECRET_VALUE}"}
    row = dead_event.row_of(failed(value, IngestionError(f"bad {SECRET_VALUE}")))
    assert SECRET_VALUE not in str(row)
    assert (row["replayable"], row["next_retry_at"]) == (False, None)
    assert "cannot be retried: sensitive values are masked" in row["remediation_notes"]


def test_row_encrypts_what_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key the original is encrypted, and a retry reads it."""
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_KEYS", KEY)
    row = dead_event.row_of(failed({"id": 1, "token": SECRET_VALUE}))
    assert SECRET_VALUE not in str(row)
    assert Cipher([KEY]).decrypt(row["sealed"]) == dead_event.text_of(row)
    assert json.loads(dead_event.text_of(row))["token"] == SECRET_VALUE
    assert row["next_retry_at"] is not None


def test_body_without_an_id_has_the_same_id_each_time() -> None:
    """The same bytes give the same id, so that their next delivery makes no second row."""
    assert (
        dead_event.fallback_id(b"x") == dead_event.fallback_id(b"x") != dead_event.fallback_id(b"y")
    )


@pytest.mark.parametrize("sent", ["a", "5b7c9d0e-2f41", "A.b_c-1", "x" * 128])
def test_correlation_id_of_the_client_is_kept(sent: str) -> None:
    """An identifier of the contract's form is kept."""
    assert correlation_id_of(sent) == sent


@pytest.mark.parametrize(
    "sent", [None, "", "x" * 129, "a b", "a\r\nSet-Cookie: x", "é", "a/b", "a\n"]
)
def test_another_correlation_id_is_replaced(sent: str | None) -> None:
    """An identifier of another form is replaced by a new one, which is never the same."""
    assert str(uuid.UUID(correlation_id_of(sent))) != correlation_id_of(sent)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("u:p@h:1/d", "v:q@h:1/d", True),
        ("u@h:1/d", "u@h:1/e", False),
        ("u@h:1/d", "u@h:2/d", False),
        ("u@h:1/d", "u@i:1/d", False),
        ("u@/d?host=/a", "u@/d?host=/b", False),
        ("u@/d?host=/a", "u@/d?host=/a&sslmode=require", True),
    ],
)
def test_database_is_the_same_by_its_address(one: str, other: str, is_same: bool) -> None:
    """Two URLs name one database by host, port and name, and not by user or options."""
    urls = [make_url(f"postgresql+psycopg2://{text}") for text in (one, other)]
    assert is_same_database(*urls) == is_same
