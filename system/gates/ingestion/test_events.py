"""Gate ingestion: what a delivery leaves in the database, and how it is answered.

The falsifiers change files, and are in `system/falsifiers.toml`; those of tables are here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from gateproof import Ids, Stack, Sut, claim, criterion, falsified_by, premise, sql, wait_until

from .delivery import SIGNATURES, VENDORS, Delivery, signed
from .service import ROLE, Service, running_service

AT_ONCE = 16
CANARY = "hunter-of-this-gate"
DEADLINE_S, SLACK_S = 3.0, 2.0
"""SYSTEM_API_DEADLINE_S, and what a busy machine may add."""

STATUS = "status of the answer"
ROWS, MESSAGES = "rows of the event", "messages of the event"
MEMBERS = "members of the answer"
LEFT = "rows that refused deliveries left"
DEAD, DEAD_ID = "dead events of the delivery", "id of the dead event"
ID_IN_A_HEADER = ("shopify", "woocommerce")
"""The vendors whose body can lack an id."""
SEEN = "rows that the ingest role sees"
PLAIN = ["correlation_id", "status", "title", "type"]
"""The members of a problem document without a reason."""

_ROWS = "SELECT tenant_id::text FROM attribution_events WHERE vendor = %s AND event_id = %s"
_COUNT = "SELECT (SELECT count(*) FROM attribution_events), (SELECT count(*) FROM dead_events)"
_MESSAGES = "SELECT count(*) FROM kombu_message WHERE payload LIKE %s"


def _rows(stack: Stack, sent: Delivery) -> list[str]:
    return list(stack.sql.query(_ROWS, (sent.vendor, sent.event_id)).column())


def _left(stack: Stack) -> list[int]:
    return list(stack.sql.query(_COUNT).rows[0])


@criterion("ING-01", needs=("database", "tenancy", "broker.kind=sqla"))
def test_signed_event_is_one_row_of_its_tenant(own_stack: Stack, ids: Ids) -> None:
    """A signed event of each vendor gives 202, one row of its tenant, and one message."""
    tenant = str(ids.uuid())
    with running_service(own_stack) as service:
        for vendor in VENDORS:
            correlation_id = f"gate-{ids.uuid()}"
            sent = signed(vendor, ids.uuid().hex)
            answer = service.send(sent, tenant, headers={"x-correlation-id": correlation_id})
            claim(STATUS, on=vendor, got=answer.status, expected=202)
            owners = [
                "the tenant" if one == tenant else "another" for one in _rows(own_stack, sent)
            ]
            claim(ROWS, on=vendor, got=owners, expected=["the tenant"])
            got = own_stack.sql.query(_MESSAGES, (f"%{correlation_id}%",)).scalar()
            claim(MESSAGES, on=vendor, got=got, expected=1)


@criterion("ING-02", needs=("database", "tenancy", "broker.kind=sqla"))
def test_delivery_that_is_not_signed_leaves_nothing(own_stack: Stack, ids: Ids) -> None:
    """A wrong, missing, old or foreign signature gives 401, an unknown token 404, and no row."""
    tenant = str(ids.uuid())
    with running_service(own_stack) as service:
        before = _left(own_stack)
        for vendor in VENDORS:
            good, other = signed(vendor, ids.uuid().hex), signed(vendor, ids.uuid().hex)
            _refused(service, tenant, good.without(SIGNATURES[vendor]), "no signature")
            _refused(service, tenant, signed(vendor, "a1", secret="another"), "another secret")
            body = other.body + b" "
            _refused(service, tenant, good.with_body(body), "signature of another body")
        _refused(service, tenant, signed("stripe", "a2", age_s=400), "old signature")
        _refused(service, tenant, signed("stripe", "a3", age_s=-400), "signature of the future")
        for vendor in VENDORS:
            token = f"{ids.uuid().hex}"
            answer = service.send(signed(vendor, ids.uuid().hex), tenant, token=token)
            claim(STATUS, on=f"{vendor}/unknown token", got=answer.status, expected=404)
            got = sorted(answer.json() or {})
            claim(MEMBERS, on=f"{vendor}/unknown token", got=got, expected=PLAIN)
        claim(LEFT, got=_left(own_stack), expected=before)


def _refused(service: Service, tenant: str, sent: Delivery, case: str) -> None:
    answer = service.send(sent, tenant)
    claim(STATUS, on=f"{sent.vendor}/{case}", got=answer.status, expected=401)
    claim(MEMBERS, on=f"{sent.vendor}/{case}", got=sorted(answer.json() or {}), expected=PLAIN)


@criterion("ING-03", needs=("database", "tenancy", "broker.kind=sqla"))
def test_repeated_event_is_one_row(own_stack: Stack, ids: Ids) -> None:
    """The same event again gives 200 and one row, also sixteen times at once, and is counted."""
    tenant = str(ids.uuid())
    with running_service(own_stack) as service:
        for vendor in VENDORS:
            sent = signed(vendor, ids.uuid().hex)
            known = {"x-correlation-id": f"gate-{ids.uuid()}"}
            got = [service.send(sent, tenant, headers=known).status for _ in range(2)]
            claim("statuses one after another", on=vendor, got=got, expected=[202, 200])
            claim(ROWS, on=vendor, got=len(_rows(own_stack, sent)), expected=1)
            found = own_stack.sql.query(_MESSAGES, (f"%{known['x-correlation-id']}%",)).scalar()
            claim(MESSAGES, on=vendor, got=found, expected=1)
        before = service.total("events_duplicate_total")
        sent = signed("stripe", ids.uuid().hex)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda _: service.send(sent, tenant).status, range(AT_ONCE)))
        expected = [200] * (AT_ONCE - 1) + [202]
        claim("statuses at once", got=sorted(answers), expected=expected)
        claim(ROWS, on="at once", got=len(_rows(own_stack, sent)), expected=1)
        counted = service.total("events_duplicate_total") - before
        claim("duplicates counted", got=counted, expected=AT_ONCE - 1)


@criterion("ING-04", needs=("database", "tenancy", "broker.kind=sqla"))
def test_event_that_breaks_its_contract_is_dead(own_stack: Stack, ids: Ids) -> None:
    """It gives 422 and one permanent dead event of its tenant, masked, however often it comes."""
    tenant = str(ids.uuid())
    with running_service(own_stack) as service:
        for vendor in VENDORS:
            change = {"id": None, "password": CANARY}
            sent = signed(vendor, ids.uuid().hex, change=change)
            for _ in range(2):
                answer = service.send(sent, tenant)
                claim(STATUS, on=vendor, got=answer.status, expected=422)
            found = own_stack.sql.query(
                "SELECT error_kind, remediation_status, payload::text, event_id FROM dead_events"
                " WHERE tenant_id = %s AND vendor = %s",
                (tenant, vendor),
            ).rows
            got = [row[:2] for row in found]
            claim(DEAD, on=vendor, got=got, expected=[("permanent", "pending")])
            if vendor in ID_IN_A_HEADER:
                got = [row[3] for row in found]
                claim(DEAD_ID, on=vendor, got=got, expected=[sent.event_id])
            clear = [row for row in found if CANARY in row[2]]
            claim("dead events with a value in clear", on=vendor, got=len(clear), expected=0)
            shown = CANARY in answer.body
            claim("answer with the value", on=vendor, got=shown, expected=False)


@criterion("ING-06", needs=("database", "tenancy", "broker.kind=sqla"))
def test_nothing_is_acknowledged_without_the_database(own_server_stack: Stack, ids: Ids) -> None:
    """Without the database a delivery gets 503 with Retry-After in time; its next one is a row."""
    stack, tenant = own_server_stack, str(ids.uuid())
    with running_service(stack) as service:
        first = service.send(signed("stripe", ids.uuid().hex), tenant)
        premise("answer while the database is there", got=first.status, expected=202)
        for fault in ("stopped", "paused"):
            sent = signed("stripe", ids.uuid().hex)
            away = stack.server_stopped() if fault == "stopped" else stack.server_paused()
            with away:
                answer = service.send(sent, tenant)
            claim(STATUS, on=fault, got=answer.status, expected=503)
            claim("Retry-After", on=fault, got="retry-after" in answer.headers, expected=True)
            limit = DEADLINE_S + SLACK_S
            claim(
                "seconds until the answer",
                on=fault,
                got=answer.duration_s,
                relation="at_most",
                expected=limit,
            )
            wait_until(
                lambda: service.send(sent, tenant).status in {200, 202},  # noqa: B023
                deadline_s=30,
            )
            claim(ROWS, on=fault, got=len(_rows(stack, sent)), expected=1)


@criterion("ING-08", needs=("database", "tenancy", "broker.kind=sqla"))
@falsified_by(
    sql(
        "events-of-all-tenants",
        f"CREATE POLICY open_read ON attribution_events FOR SELECT TO {ROLE} USING (true)",
        landing="SELECT polname FROM pg_policy WHERE polrelid = 'attribution_events'::regclass",
        role="superuser",
        target="attribution_events",
    ),
    expect=(SEEN, "attribution_events/A", "of another"),
)
@falsified_by(
    sql(
        "dead-events-of-all-tenants",
        f"CREATE POLICY open_read ON dead_events FOR SELECT TO {ROLE} USING (true)",
        landing="SELECT polname FROM pg_policy WHERE polrelid = 'dead_events'::regclass",
        role="superuser",
        target="dead_events",
    ),
    expect=(SEEN, "dead_events/A", "of another"),
)
@falsified_by(
    sql(
        "role-bypasses-policies",
        f"ALTER ROLE {ROLE} BYPASSRLS",
        landing=f"SELECT rolbypassrls FROM pg_roles WHERE rolname = '{ROLE}'",
        role="superuser",
        scope="server",
    ),
    expect=("role escapes policies", ROLE),
)
def test_tenant_sees_its_own_events_only(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """The ingest role sees events and dead events of its tenant only, and is bound by policies."""
    tenants = {name: str(ids.uuid()) for name in ("A", "B")}
    with running_service(own_stack) as service:
        for name, tenant in tenants.items():
            good = service.send(signed("stripe", ids.uuid().hex), tenant)
            bad = service.send(signed("stripe", ids.uuid().hex, change={"data": 1}), tenant)
            claim(STATUS, on=name, got=[good.status, bad.status], expected=[202, 422])
    for name, tenant in tenants.items():
        for table in ("attribution_events", "dead_events"):
            with own_stack.sql.session(ROLE) as session:
                session.set_local(sut.tenancy.guc, tenant)
                owners = session.query(f"SELECT tenant_id::text FROM {table}").column()
            got = ["own" if one == tenant else "of another" for one in owners]
            claim(SEEN, on=f"{table}/{name}", got=sorted(set(got)), expected=["own"])
    row = own_stack.sql.query(
        "SELECT rolsuper OR rolbypassrls OR EXISTS (SELECT FROM pg_class WHERE relowner = r.oid)"
        " FROM pg_roles r WHERE rolname = %s",
        (ROLE,),
    )
    claim("role escapes policies", on=ROLE, got=row.scalar(), expected=False)
