"""Gate ingestion: limits on size, pace and number of deliveries hold, and lose nothing.

The falsifiers change files, and are in `system/falsifiers.toml`.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

from gateproof import Ids, Stack, claim, criterion

from . import wire
from .delivery import Delivery, signed
from .observed import published_default
from .service import Service, running_service

LIMIT = 2**20
CLIENT = "SYSTEM_API_CLIENT_S"
CLIENT_S, LONGEST_DEFAULT_S, SLACK_S = 2.0, 10.0, 2.0
"""The shortened time of a client, the longest that may be the default, and what a busy machine may
add."""
AT_ONCE, ANSWERED_WITHIN_S = 500, 30.0
HEAD = "POST {path} HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n"

STATUS = "status of the answer"
CUT_OFF = "seconds until a slow client is cut off"

_STORED = "SELECT event_id FROM attribution_events WHERE tenant_id = %s"


@criterion("ING-10", needs=("database", "tenancy", "broker.kind=sqla"))
def test_limits_hold_and_lose_nothing(own_stack: Stack, ids: Ids) -> None:
    """The largest body is taken and a larger one is not; slow clients end; bursts lose nothing."""
    default_s = published_default(own_stack, CLIENT)
    claim(
        "published seconds for a client",
        got=default_s,
        relation="at_most",
        expected=LONGEST_DEFAULT_S,
    )
    tenant = str(ids.uuid())
    with (
        running_service(own_stack, {CLIENT: str(CLIENT_S)}) as service,
        ThreadPoolExecutor(3) as pool,
    ):
        slow = _start_slow_clients(service, pool)
        _judge_sizes(service, tenant, ids)
        for name, lasted in slow.items():
            limit = CLIENT_S + SLACK_S
            claim(CUT_OFF, on=name, got=lasted.result(), relation="at_most", expected=limit)
    with running_service(own_stack) as service:
        _judge_burst(service, str(ids.uuid()), ids)


def _start_slow_clients(service: Service, pool: ThreadPoolExecutor) -> dict[str, Future[float]]:
    head = HEAD.format(path="/webhooks/shopify/no-token").encode()
    cases = {
        "request line": (b"P", b"O"),
        "head": (head + b"X-Slow: ", b"a"),
        "body": (head + b"Content-Length: 1000\r\n\r\n", b" "),
    }
    return {
        name: pool.submit(
            wire.send_slowly,
            service.stack,
            service.url,
            name,
            first=first,
            more=more,
            limit_s=CLIENT_S + 2 * SLACK_S,
        )
        for name, (first, more) in cases.items()
    }


def _judge_sizes(service: Service, tenant: str, ids: Ids) -> None:
    for in_chunks in (False, True):
        framing = "in chunks" if in_chunks else "declared"
        for name, size, expected in (("1 MiB", LIMIT, 202), ("1 MiB + 1 byte", LIMIT + 1, 413)):
            sent = signed("shopify", ids.uuid().hex, size=size)
            content = _request(service, sent, tenant, in_chunks=in_chunks)
            got = wire.send(service.stack, service.url, f"{name}, {framing}", content)
            claim(STATUS, on=f"{name}/{framing}", got=got, expected=expected)


def _judge_burst(service: Service, tenant: str, ids: Ids) -> None:
    """Judge many deliveries at once: each is answered, and what was acknowledged is stored."""
    sent = [signed("shopify", ids.uuid().hex) for _ in range(AT_ONCE)]
    statuses = wire.send_at_once(
        service.stack,
        service.url,
        [_request(service, one, tenant) for one in sent],
        timeout_s=ANSWERED_WITHIN_S,
    )
    others = {str(one): n for one, n in Counter(statuses).items() if one not in {202, 503}}
    claim("answers of another status than 202 and 503", got=others, expected={}, over=statuses)
    taken = {one.event_id for one, status in zip(sent, statuses, strict=True) if status == 202}
    stored = set(service.stack.sql.query(_STORED, (tenant,)).column())
    claim("acknowledged deliveries", got=len(taken), relation="at_least", expected=1)
    claim("acknowledged deliveries without a row", got=len(taken - stored), expected=0)


def _request(service: Service, sent: Delivery, tenant: str, *, in_chunks: bool = False) -> bytes:
    path = service.path(sent.vendor, tenant)
    return wire.request(path, sent.headers, sent.body, in_chunks=in_chunks)
