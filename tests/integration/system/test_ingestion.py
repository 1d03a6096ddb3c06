"""Deliveries of vendors to a running service, over HTTP and into a real database."""

from __future__ import annotations

import gzip
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.vendors import SECRET, VENDORS, Delivery, event, hmac_sha256, signed

from .api import DEAD, EVENTS, Api, StartApi
from .support import Database

LIMIT = 2**20


@pytest.fixture(scope="module")
def api(shared: Database, start_shared_api: StartApi) -> Api:
    """Start one service of two processes for the module."""
    return start_shared_api(shared, SYSTEM_API_PROCESSES="2")


_NUMBERS = iter(range(1000, 100_000))


@pytest.fixture
def number() -> int:
    """Return a number that no other test of the module uses."""
    return next(_NUMBERS)


@pytest.fixture
def unchanged(api: Api) -> Iterator[None]:
    """Demand that the test leaves no row of any kind."""
    before = api.count(EVENTS), api.count(DEAD)
    yield
    assert (api.count(EVENTS), api.count(DEAD)) == before


@pytest.mark.parametrize("vendor", VENDORS)
def test_signed_event_is_one_row_of_its_tenant(api: Api, vendor: str, number: int) -> None:
    """A signed event of each vendor gives 202, one row of its tenant, and one message."""
    answer = api.send(signed(vendor, number=number), **{"x-correlation-id": f"c-{number}"})
    assert answer.status_code == 202, answer.text
    receipt = answer.json()
    assert (receipt["status"], receipt["correlation_id"]) == ("accepted", f"c-{number}")
    assert answer.headers["x-correlation-id"] == f"c-{number}"
    assert api.database.rows(
        "SELECT tenant_id::text, vendor, correlation_id, payload FROM attribution_events"
        " WHERE id = %s",
        receipt["event_id"],
    ) == [(api.tenant, vendor, f"c-{number}", event(vendor, number))]
    sent = api.database.rows("SELECT payload FROM kombu_message")
    assert len([one for (one,) in sent if f'"correlation_id": "c-{number}"' in one]) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_repeated_event_is_one_row(api: Api, vendor: str, number: int) -> None:
    """The same event again gives 200 and the first row's id, and counts as a duplicate."""
    before = api.metric("events_duplicate_total")
    first, second = (api.send(signed(vendor, number=number)) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["event_id"] == second.json()["event_id"]
    assert second.json()["status"] == "duplicate"
    assert api.metric("events_duplicate_total") == before + 1


def test_sixteen_deliveries_at_once_are_one_row(api: Api, number: int) -> None:
    """Of sixteen deliveries of one event at once one is new, and all name its row."""
    rows = api.count()
    before = api.metric("events_ingested_total"), api.metric("events_duplicate_total")
    sent = signed("stripe", number=number)
    api.path("stripe")  # (register it once, before the threads)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: api.send(sent), range(16)))
    assert sorted(one.status_code for one in answers) == [200] * 15 + [202]
    assert len({one.json()["event_id"] for one in answers}) == 1
    assert api.count() == rows + 1
    after = api.metric("events_ingested_total"), api.metric("events_duplicate_total")
    assert (after[0] - before[0], after[1] - before[1]) == (1, 15)


REFUSED: dict[str, Callable[[], Delivery]] = {
    "another secret": lambda: signed("stripe", secret="another"),
    "no signature": lambda: signed("stripe").but(stripe_signature=None),
    "old": lambda: signed("stripe", at=time.time() - 400),
    "from the future": lambda: signed("stripe", at=time.time() + 400),
    "another body": lambda: signed("stripe").with_body(signed("stripe", number=2).body),
    "no JSON, not signed": lambda: signed("stripe").with_body(b"{"),
    "of another vendor": lambda: signed("shopify"),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", REFUSED)
def test_wrong_signature_leaves_nothing(api: Api, name: str) -> None:
    """A delivery that is not signed is refused with 401, without a row and without a reason."""
    wrong = REFUSED[name]()
    answer = api.send(Delivery(vendor="stripe", body=wrong.body, headers=wrong.headers))
    assert answer.status_code == 401
    assert set(answer.json()) == {"type", "title", "status", "correlation_id"}


@pytest.mark.usefixtures("unchanged")
def test_unknown_token_is_not_found(api: Api) -> None:
    """An unregistered token, or one of another vendor or form, gives 404, signed or not."""
    token = api.register("shopify")
    known = {"type", "title", "status", "correlation_id"}
    for sent in (signed("stripe"), signed("stripe").but(stripe_signature=None)):
        for other in ("q7Jt2vK9xY4mB1nR8sW3uA", token, "x", "ü" * 22, "a" * 5000, "%00"):
            answer = api.send(sent, other)
            assert (answer.status_code, set(answer.json())) == (404, known), other


def test_two_secrets_are_valid_during_a_rotation(api: Api, number: int) -> None:
    """Events under the present and under the next secret are taken, and under a third one not."""
    token = api.register("shopify", secret="present", next_secret="next")
    statuses = [
        api.send(signed("shopify", number=number, secret=secret), token).status_code
        for secret in ("present", "next", "third")
    ]
    assert statuses == [202, 200, 401]


def test_retired_endpoint_is_unknown(api: Api) -> None:
    """An endpoint that is no longer active gives 404."""
    token = api.register("shopify")
    with api.database.connect("postgres") as connection:
        connection.execute("UPDATE webhook_endpoints SET active = false")
    try:
        assert api.send(signed("shopify"), token).status_code == 404
    finally:
        with api.database.connect("postgres") as connection:
            connection.execute("UPDATE webhook_endpoints SET active = true")


def test_missing_secret_is_no_wrong_signature(api: Api) -> None:
    """While the file of a secret is missing the vendor is asked to deliver again."""
    token = api.register("shopify")
    with api.database.connect("postgres") as connection:
        connection.execute(
            "UPDATE webhook_endpoints SET secret_ref = '../../etc/passwd' WHERE "
            "token_digest = encode(sha256(%s), 'hex')",
            (token.encode(),),
        )
    assert api.send(signed("shopify"), token).status_code == 503


def test_tenant_comes_from_the_registration(api: Api, number: int) -> None:
    """A tenant in the body or in a header changes nothing."""
    other = str(uuid.uuid4())
    body = json.dumps({**event("shopify", number), "tenant_id": other}).encode()
    sent = signed("shopify", body, number=number)
    answer = api.send(sent, **{"x-tenant-id": other})
    assert answer.status_code == 202
    assert api.database.rows(
        "SELECT tenant_id::text FROM attribution_events WHERE id = %s", answer.json()["event_id"]
    ) == [(api.tenant,)]


def test_one_event_id_of_two_tenants_is_two_rows(api: Api, number: int) -> None:
    """The ids of vendors are unique in a tenant only."""
    token = api.register("shopify", tenant=str(uuid.uuid4()))
    sent = signed("shopify", number=number)
    assert [api.send(sent).status_code, api.send(sent, token).status_code] == [202, 202]


def broken(vendor: str, number: int) -> Delivery:
    """Return a signed event that breaks the contract, with a secret in it."""
    change = {"id": None, "password": f"hunter-{number}"}
    return signed(vendor, json.dumps(event(vendor, number) | change).encode(), number=number)


@pytest.mark.parametrize("vendor", VENDORS)
def test_event_that_breaks_the_contract_is_dead(api: Api, vendor: str, number: int) -> None:
    """It gives 422 and one permanent dead event of its tenant, masked, however often it comes."""
    rows, counted = api.count(DEAD), api.metric("events_dlq_total")
    sent = broken(vendor, number)
    answers = [api.send(sent) for _ in range(2)]
    assert [one.status_code for one in answers] == [422, 422]
    assert "body/id: " in answers[0].json()["detail"]
    assert f"hunter-{number}" not in answers[0].text
    assert (api.count(DEAD), api.metric("events_dlq_total")) == (rows + 1, counted + 1)
    found = api.database.rows(
        "SELECT tenant_id::text, vendor, error_kind, remediation_status, next_retry_at,"
        " payload::text, correlation_id FROM dead_events ORDER BY failed_at DESC LIMIT 1"
    )[0]
    assert found[:5] == (api.tenant, vendor, "permanent", "pending", None)
    assert json.loads(found[5])["password"] == "[masked]"
    assert found[6] == answers[0].headers["x-correlation-id"]


def test_event_with_a_wrong_header_is_dead(api: Api, number: int) -> None:
    """Headers are of the contract too, and a signed body with another topic is a dead event."""
    rows = api.count(DEAD)
    sent = signed("shopify", number=number).but(x_shopify_topic="Not A Topic")
    answer = api.send(sent)
    assert (answer.status_code, api.count(DEAD)) == (422, rows + 1)
    assert "x-shopify-topic: pattern" in answer.json()["detail"]


def raw(body: bytes) -> Delivery:
    """Return any bytes, signed."""
    return signed("shopify", body)


def nested(levels: int) -> bytes:
    """Return JSON of some levels."""
    return b'{"a":' * levels + b"1" + b"}" * levels


HTTP_REFUSALS: dict[str, tuple[Callable[[], Delivery], int]] = {
    "compressed bomb": (
        lambda: signed("shopify", gzip.compress(b"0" * 10**7)).but(content_encoding="gzip"),
        415,
    ),
    "deflate": (lambda: raw(b"{}").but(content_encoding="deflate"), 415),
    "two encodings": (lambda: raw(b"{}").but(content_encoding="identity, gzip"), 415),
    "no content type": (lambda: raw(b"{}").but(content_type=None), 415),
    "form": (lambda: raw(b"a=1").but(content_type="application/x-www-form-urlencoded"), 415),
    "XML": (lambda: raw(b"<a/>").but(content_type="text/xml"), 415),
    "another charset": (
        lambda: raw(b"{}").but(content_type="application/json; charset=utf-16"),
        415,
    ),
    "one byte too large": (lambda: raw(b"[" + b" " * (LIMIT - 1) + b"]"), 413),
    "much too large": (lambda: raw(b" " * 6 * LIMIT), 413),
    "invalid UTF-8": (lambda: raw(b'{"a": "\xff"}'), 400),
    "10,000 levels": (lambda: raw(nested(10_000)), 400),
    "a million brackets": (lambda: raw(b"[" * 1_000_000), 400),
    "duplicate keys": (lambda: raw(b'{"id": 1, "id": 2}'), 400),
    "NUL in a text": (lambda: raw(b'{"a": "\\u0000"}'), 400),
    "number beyond a float": (lambda: raw(b'{"a": 1e999}'), 400),
    "5,000 digits": (lambda: raw(b'{"a": ' + b"9" * 5000 + b"}"), 400),
    "NaN": (lambda: raw(b'{"a": NaN}'), 400),
    "empty": (lambda: raw(b""), 400),
    "no JSON": (lambda: raw(b"hello"), 400),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", HTTP_REFUSALS)
def test_bad_input_gets_a_problem_document_and_no_row(api: Api, name: str) -> None:
    """Signed or not, bad input gets a problem document with its status, and leaves no row."""
    make, status = HTTP_REFUSALS[name]
    answer = api.send(make())
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["correlation_id"] == answer.headers["x-correlation-id"]


def test_largest_body_is_taken(api: Api, number: int) -> None:
    """A body of exactly 1 MiB is taken."""
    small = json.dumps(event("shopify", number)).encode()
    body = small[:-1] + b" " * (LIMIT - len(small)) + b"}"
    assert len(body) == LIMIT
    assert api.send(signed("shopify", body, number=number)).status_code == 202


def test_thousand_parameters_change_nothing(api: Api, number: int) -> None:
    """A query of 1,000 parameters is left out of account."""
    sent = signed("shopify", number=number)
    answer = api.client.post(
        api.path("shopify") + "?" + "&".join(f"p{n}={n}" for n in range(1000)),
        content=sent.body,
        headers=dict(sent.headers),
    )
    assert answer.status_code == 202


def test_two_signatures_are_none(api: Api) -> None:
    """A header that is sent twice counts as missing: two readers could choose another one."""
    sent = signed("shopify")
    headers = [*sent.headers.items(), ("x-shopify-hmac-sha256", "AAAA")]
    answer = api.client.post(api.path("shopify"), content=sent.body, headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/webhooks/shopify/q7Jt2vK9xY4mB1nR8sW3uA", 405),
        ("PUT", "/webhooks/shopify/q7Jt2vK9xY4mB1nR8sW3uA", 405),
        ("POST", "/webhooks/unknown/q7Jt2vK9xY4mB1nR8sW3uA", 404),
        ("POST", "/webhooks/shopify/", 404),
        ("POST", "/webhooks/shopify/a/b", 404),
        ("POST", "/health", 405),
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/../../etc/passwd", 404),
    ],
)
def test_other_paths_and_methods_are_refused(api: Api, method: str, path: str, status: int) -> None:
    """An unknown path gives 404 and another method 405, as problem documents."""
    answer = api.client.request(method, api.url + path)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    assert answer.headers["x-correlation-id"] == answer.json()["correlation_id"]


RAW = {
    "no HTTP": b"\x16\x03\x01\x00\xff\r\n\r\n",
    "header without a name": b"GET /health HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "line feed in a header": b"GET /health HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: a\nb\r\n\r\n",
    "two lengths": b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nab",
    "negative length": b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "header without an end": b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000,
}


@pytest.mark.parametrize("name", RAW)
def test_malformed_request_gets_a_problem_document(api: Api, name: str) -> None:
    """A request that is no HTTP gets 400 as a problem document, and the service serves on."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as client:
        client.sendall(RAW[name])
        answer = b""
        while part := client.recv(65_536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), answer
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400
    assert api.client.get(f"{api.url}/health").status_code == 200


@pytest.mark.parametrize("sent", ["a b", "x" * 200, "a;b", "<script>"])
def test_correlation_id_of_another_form_is_replaced(api: Api, sent: str) -> None:
    """An identifier that could inject something is not sent back, and no reason to refuse."""
    answer = api.client.get(f"{api.url}/health", headers={"x-correlation-id": sent})
    assert answer.status_code == 200
    uuid.UUID(answer.headers["x-correlation-id"])


def test_no_secret_is_shown(api: Api, number: int) -> None:
    """No secret, signature, token, payload or password is in logs, metrics or errors."""
    marker = f"marker{number}value"
    body = json.dumps({**event("shopify", number), "note": marker}).encode()
    sent = signed("shopify", body, number=number)
    wrong = json.dumps({**event("shopify", number), "id": marker}).encode()
    answers = [
        api.send(sent),
        api.send(sent.but(x_shopify_hmac_sha256="AAAA")),
        api.send(signed("shopify", wrong, number=number + 50_000)),
        api.send(signed("shopify", body[:-1], number=number)),
    ]
    assert [one.status_code for one in answers] == [202, 401, 422, 400]
    shown = api.text() + api.client.get(f"{api.url}/metrics").text
    shown += "".join(f"{one.text}{one.headers}" for one in answers)
    secrets = (
        SECRET,
        marker,
        sent.headers["x-shopify-hmac-sha256"],
        hmac_sha256(SECRET, body).hex(),
        api.tokens["shopify"],
        api.database.server.password,
    )
    assert [one for one in secrets if one in shown] == []


def test_every_line_is_json(api: Api) -> None:
    """Every line of the service is one JSON object, the start-up lines too."""
    lines = api.lines()
    assert len(lines) > 10
    assert [line for line in lines if {"timestamp", "level", "message"} - line.keys()] == []


def test_unknown_type_is_counted_as_other(api: Api, number: int) -> None:
    """A type that is not on the vendor's list has the label `other`."""
    sent = signed("shopify", number=number).but(x_shopify_topic="weird/thing")
    assert api.send(sent).status_code == 202
    text = api.client.get(f"{api.url}/metrics").text
    assert 'event_type="other"' in text
    assert "weird" not in text
