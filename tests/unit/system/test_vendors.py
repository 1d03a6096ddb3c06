"""Signatures and descriptions of the four vendors, with vectors of `tests.vendors`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from system.api.delivery import Delivery as Received
from system.api.vendors import vendors_with
from system.api.vendors.vendor import Vendor
from system.errors import IngestionError
from tests.vendors import (
    CERTIFICATE,
    SECRET,
    VENDORS,
    Delivery,
    certificate,
    event,
    hmac_sha256,
    signed,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Vendor]:
    """Return the vendors, with one valid and one expired certificate of PayPal."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / f"{CERTIFICATE}.pem").write_bytes(certificate())
    (folder / "EXPIRED.pem").write_bytes(certificate(days=-1))
    (folder / "BROKEN.pem").write_text("no certificate")
    return vendors_with(folder)


def received(sent: Delivery) -> Received:
    """Return a delivery as the service receives it."""
    return Received(
        vendor=sent.vendor, token="t", headers=sent.headers, raw=sent.body, correlation_id="c"
    )


def accepts(
    vendors: dict[str, Vendor], sent: Delivery, *, secret: str = SECRET, now: datetime | None = None
) -> bool:
    """Return whether a delivery counts as signed."""
    return vendors[sent.vendor].is_signed(received(sent), secret, now or datetime.now(UTC))


def test_hmac_of_the_vectors_is_that_of_the_rfc() -> None:
    """The vectors' own HMAC gives the second test case of RFC 4231."""
    assert hmac_sha256("Jefe", b"what do ya want for nothing?").hex() == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendor_accepts_what_is_signed_as_documented(
    vendors: dict[str, Vendor], vendor: str
) -> None:
    """A delivery that is signed with the secret is accepted, with another secret it is not."""
    assert accepts(vendors, signed(vendor))
    assert accepts(vendors, signed(vendor, b"\xff\x00 any bytes"))
    assert not accepts(vendors, signed(vendor), secret="another")


SIGNATURES = {
    "shopify": "x_shopify_hmac_sha256",
    "stripe": "stripe_signature",
    "paypal": "paypal_transmission_sig",
    "woocommerce": "x_wc_webhook_signature",
}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("value", [None, "", "x", "é" * 44, "=", "t=1,v1=", "A" * 10_000])
def test_vendor_refuses_another_signature(
    vendors: dict[str, Vendor], vendor: str, value: str | None
) -> None:
    """A missing, empty or malformed signature is refused, and raises nothing."""
    assert not accepts(vendors, signed(vendor).but(**{SIGNATURES[vendor]: value}))


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendor_refuses_another_body(vendors: dict[str, Vendor], vendor: str) -> None:
    """A signature is of one body: with a byte more it is refused."""
    sent = signed(vendor)
    assert not accepts(vendors, sent.with_body(sent.body + b" "))


@pytest.mark.parametrize(
    ("age_s", "is_accepted"), [(0, True), (299, True), (301, False), (-299, True), (-301, False)]
)
def test_stripe_accepts_near_times_only(
    vendors: dict[str, Vendor], age_s: int, is_accepted: bool
) -> None:
    """The tolerance is 300 s, into the past and into the future."""
    sent = signed("stripe", at=NOW.timestamp() - age_s)
    assert accepts(vendors, sent, now=NOW) == is_accepted


@pytest.mark.parametrize(
    ("change", "is_accepted"),
    [
        (lambda text: f"v1={'0' * 64},{text}", True),
        (lambda text: text.replace(",v1=", f",v1={'0' * 64},v1="), True),
        (lambda text: text.replace("v1=", "v2="), False),
        (lambda text: f"t=1,{text}", False),
        (lambda text: text.replace("t=", "t=+"), False),
        (lambda text: text.replace("t=", "t=٣"), False),
        (lambda text: "t=" + "9" * 400 + "," + text.partition(",")[2], False),
    ],
)
def test_stripe_reads_its_header_strictly(
    vendors: dict[str, Vendor], change: object, is_accepted: bool
) -> None:
    """Several signatures are allowed, and one time of digits only."""
    assert callable(change)
    sent = signed("stripe")
    changed = sent.but(stripe_signature=change(sent.headers["stripe-signature"]))
    assert accepts(vendors, changed) == is_accepted


@pytest.mark.parametrize(
    "change",
    [
        {"paypal_cert_url": "https://api.paypal.example/certs/OTHER"},
        {"paypal_cert_url": "https://api.paypal.example/certs/EXPIRED"},
        {"paypal_cert_url": "https://api.paypal.example/certs/BROKEN"},
        {"paypal_cert_url": "file:///etc/passwd"},
        {"paypal_cert_url": ".."},
        {"paypal_cert_url": None},
        {"paypal_auth_algo": "SHA1withRSA"},
        {"paypal_auth_algo": None},
        {"paypal_transmission_id": "another"},
        {"paypal_transmission_time": "2020-01-01T00:00:00Z"},
    ],
)
def test_paypal_refuses_what_its_certificate_did_not_sign(
    vendors: dict[str, Vendor], change: dict[str, str | None]
) -> None:
    """Each signed part counts, and only a valid certificate of the local folder is used."""
    assert not accepts(vendors, signed("paypal").but(**change))


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendor_describes_its_event(vendors: dict[str, Vendor], vendor: str) -> None:
    """Type, id and time of an event are those that the vendor sent."""
    sent = signed(vendor, number=7)
    described = vendors[vendor].describe(sent.headers, event(vendor, 7), NOW)
    assert described.event_id.endswith("7")
    assert described.event_type in vendors[vendor].known_types
    assert described.occurred_at.astimezone(UTC).date().isoformat() == "2026-01-31"


@pytest.mark.parametrize("created", [24 * 10**10, 10**15, 2**62])
def test_stripe_refuses_a_time_beyond_the_calendar(
    vendors: dict[str, Vendor], created: int
) -> None:
    """A time of which no window can be made is refused."""
    value = event("stripe") | {"created": created}
    with pytest.raises(IngestionError, match="event: got a time"):
        vendors["stripe"].describe({}, value, NOW)


@pytest.mark.parametrize("created", ["2026-13-01T12:00:00", "2026-02-30T12:00:00"])
def test_woocommerce_refuses_a_time_that_no_calendar_has(
    vendors: dict[str, Vendor], created: str
) -> None:
    """A text of the contract's form that is no time is refused, and is no defect."""
    value = event("woocommerce") | {"date_created_gmt": created}
    headers = signed("woocommerce").headers
    with pytest.raises(IngestionError, match="event: got a time that no calendar has"):
        vendors["woocommerce"].describe(headers, value, NOW)


def test_time_with_a_large_offset_is_described_in_utc(vendors: dict[str, Vendor]) -> None:
    """PostgreSQL takes no offset of 16 hours or more, so none is passed on."""
    value = event("paypal") | {"create_time": "2026-01-31T12:00:00+16:59"}
    described = vendors["paypal"].describe({}, value, NOW)
    assert described.occurred_at.isoformat() == "2026-01-30T19:01:00+00:00"


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("value", [None, [], "text", 1, {}])
def test_vendor_finds_no_id_in_what_has_none(
    vendors: dict[str, Vendor], vendor: str, value: object
) -> None:
    """The search for an id in a body that breaks the contract raises nothing."""
    assert vendors[vendor].id_of({}, value) is None
    assert vendors[vendor].type_of({}, value) is None


def test_certificate_folder_may_be_missing(tmp_path: Path) -> None:
    """Without a folder of certificates no delivery of PayPal is accepted."""
    without = vendors_with(tmp_path / "none")["paypal"]
    assert not without.is_signed(received(signed("paypal")), SECRET, datetime.now(UTC))
