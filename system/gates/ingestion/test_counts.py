"""Gate ingestion: metrics rise by exactly what happened, over all processes of the service.

The falsifiers change files, and are in `system/falsifiers.toml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from gateproof import Ids, Stack, claim, criterion, premise

from .delivery import SIGNATURES, VENDORS, Delivery, signed
from .observed import samples
from .service import running_service

PROCESSES = 2
NEW, TWICE = 4, 2
"""For each vendor: new events, and those of them that are delivered again."""
TYPES = {
    "shopify": "orders/create",
    "stripe": "charge.succeeded",
    "paypal": "PAYMENT.CAPTURE.COMPLETED",
    "woocommerce": "order.created",
}
STORED, REPEATED = "events_ingested_total", "events_duplicate_total"
DEAD, DURATIONS = "events_dlq_total", "ingestion_duration_seconds_count"
RISE = "rise of the samples"


@criterion("ING-09", needs=("database", "tenancy", "broker.kind=sqla"))
def test_metrics_rise_by_what_happened(own_stack: Stack, ids: Ids) -> None:
    """The four families rise by exactly what two processes were sent, by tenant and type."""
    tenants = {str(ids.uuid()): name for name in ("A", "B")}
    first, second = tenants
    with running_service(own_stack, {"SYSTEM_API_PROCESSES": str(PROCESSES)}) as service:
        before = samples(service)
        for vendor in VENDORS:
            service.path(vendor, first)  # (each is registered once, before the threads)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda one: service.send(one, first).status, _sent(ids)))
        other = signed("stripe", ids.uuid().hex, change={"type": "gate.unknown"})
        answers.append(service.send(other, second).status)
        served = {line.get("pid") for line in service.log_since(0) if line.get("vendor")}
        premise("processes that took deliveries", got=len(served), expected=PROCESSES)
        after = [samples(service) for _ in range(PROCESSES * 2)]
    expected = {202: 4 * NEW + 1, 200: 4 * TWICE, 422: 8, 401: 4}
    got = {status: answers.count(status) for status in sorted(set(answers))}
    claim("answers", got=got, expected=dict(sorted(expected.items())))
    _judge(before, after, tenants)


def _sent(ids: Ids) -> Iterator[Delivery]:
    """Return the deliveries of each vendor: new, repeated, broken twice, and not signed."""
    for vendor in VENDORS:
        new = [signed(vendor, ids.uuid().hex) for _ in range(NEW)]
        yield from (*new, *new[:TWICE])
        broken = signed(vendor, ids.uuid().hex, change={"id": None})
        yield from (broken, broken, new[0].without(SIGNATURES[vendor]))


def _judge(before: Samples, scrapes: Sequence[Samples], tenants: Mapping[str, str]) -> None:
    """Judge the rise of each family, in every scrape: each may be of another process."""
    rises = {
        STORED: _of_types(NEW) | {"other/A/stripe": 0.0, "other/B/stripe": 1.0},
        REPEATED: _of_types(TWICE),
        DEAD: {f"ContractError/{one}": 1.0 for one in _of_types(1)},
        DURATIONS: dict.fromkeys(VENDORS, NEW + TWICE + 3.0) | {"stripe": NEW + TWICE + 4.0},
    }
    for family, expected in rises.items():
        shown = {name: value for name, value in expected.items() if value}
        got = [_rise(before, one, family, tenants) for one in scrapes]
        differ = [one for one in got if one != shown]
        claim(RISE, on=family, got=(differ or got)[0], expected=shown)


def _of_types(count: float) -> dict[str, float]:
    return {f"{TYPES[vendor]}/A/{vendor}": float(count) for vendor in VENDORS}


Samples = Mapping[str, Mapping[tuple[str, ...], float]]


def _rise(
    before: Samples, after: Samples, family: str, tenants: Mapping[str, str]
) -> dict[str, float]:
    """Return by how much each sample of a family rose, with tenants by their names."""
    found = {}
    for labels, value in after.get(family, {}).items():
        rise = value - before.get(family, {}).get(labels, 0.0)
        if rise:
            found["/".join(tenants.get(label, label) for label in labels)] = rise
    return found
