"""Gate contracts: the running service has the operations of the contracts, and answers by them.

The falsifiers change the service, and are in `system/falsifiers.toml`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from gateproof import Exchange, FileProbe, Ids, ProcessProbe, Stack, Sut, claim, criterion, premise
from system.gates.ingestion import wire
from system.gates.ingestion.delivery import VENDORS
from system.gates.ingestion.service import Service, register, running_service

from .document import METHODS, Operation, Sample, operations, released, released_path
from .generated import COUNT, INVALID, VALID, Request, generated
from .report import DOMAINS

WEBHOOKS = "webhooks/"
DESCRIPTION = "/openapi.json"
MOST_SHOWN = 5
LIMIT_S = 300.0 + 12 * COUNT
"""For generating and sending `COUNT` requests of six operations in two modes, on a busy machine."""

CLIENT, CLIENT_S = "SYSTEM_API_CLIENT_S", 1.0
"""The setting of the seconds for a client, and a shorter value."""
OUTSIDE = "answers outside the contract"
"""The name of a claim that falsifiers predict."""

_NAME = re.compile(r"\{[^}]*\}")


@criterion("CON-05", needs=("database", "tenancy", "broker.kind=sqla"))
def test_service_has_the_operations_of_the_contracts(own_stack: Stack, files: FileProbe) -> None:
    """The service has every operation of the implemented contracts, and no other."""
    documents = [released(files, domain) for domain in DOMAINS]
    implemented = [one for one in documents if one["x-implemented"]]
    premise("implemented contracts", got=len(implemented), relation="at_least", expected=1)
    promised = {name for one in implemented for name in _names(one)}
    with running_service(own_stack) as service:
        served = _names(own_stack.http.get(service.url + DESCRIPTION).json() or {})
        claim("operations that are missing", got=sorted(promised - served), expected=[])
        claim("operations without a contract", got=sorted(served - promised), expected=[])
        for path in sorted({name.split()[1] for name in promised}):
            wanted = sorted(name.split()[0] for name in promised if name.split()[1] == path)
            url = service.url + path.replace("{}", "x" * 22)
            answer = own_stack.http.request("PROPFIND", url)
            allowed = sorted(answer.headers.get("allow", "").replace(" ", "").split(","))
            claim("methods that the service allows", on=path, got=allowed, expected=wanted)
            claim("name of the server", on=path, got=answer.headers.get("server"), expected=None)
            slashed = own_stack.http.request("PROPFIND", f"{url}/").status
            claim("status with a slash at the end", on=path, got=slashed, expected=404)


def _names(document: Mapping[str, Any]) -> set[str]:
    """Return the operations of a document as *METHOD path*, without the names of parameters."""
    return {
        f"{method.upper()} {_NAME.sub('{}', path)}"
        for path, item in document.get("paths", {}).items()
        for method in METHODS
        if method in item
    }


@criterion("CON-06", needs=("database", "tenancy", "broker.kind=sqla"), limit_s=LIMIT_S)
def test_service_answers_as_its_contracts_say(
    own_stack: Stack, files: FileProbe, machine: ProcessProbe, sut: Sut, ids: Ids
) -> None:
    """No request, valid, invalid or unfinished, gets a 5xx or an answer outside its contract."""
    domains = ("health", *(f"{WEBHOOKS}{vendor}" for vendor in VENDORS))
    known = {one.id: one for domain in domains for one in operations(files, domain)}
    requests = generated(machine, sut, [released_path(files, domain) for domain in domains])
    answers: dict[tuple[str, str], list[Exchange]] = defaultdict(list)
    with running_service(own_stack, {CLIENT: str(CLIENT_S)}) as service:
        tokens = {vendor: register(own_stack, str(ids.uuid()), vendor) for vendor in VENDORS}
        for one in requests:
            sent = _addressed(known[one.operation], one, tokens)
            answers[one.operation, one.mode].append(_send(own_stack, service, sent))
        slow = {vendor: _answer_to_slow_body(service, vendor, tokens[vendor]) for vendor in VENDORS}
    for operation in known.values():
        for mode in (VALID, INVALID):
            _judge(operation, mode, answers[operation.id, mode])
        vendor = operation.domain.removeprefix(WEBHOOKS)
        if vendor in slow:
            found = operation.findings(slow[vendor])
            claim(OUTSIDE, on=f"{operation.id}/slow body", got=found, expected=[])


def _answer_to_slow_body(service: Service, vendor: str, token: str) -> Exchange:
    """Send the begin of a body, and return the answer to it."""
    headers = {"content-type": "application/json", "content-length": "1000"}
    path = f"/webhooks/{vendor}/{token}"
    return wire.send_unfinished(service.stack, service.url, path, headers, b"{")


def _addressed(operation: Operation, one: Request, tokens: Mapping[str, str]) -> Sample:
    """Return a request as it is sent: that of a vendor is signed, for a registered endpoint."""
    vendor = operation.domain.removeprefix(WEBHOOKS)
    return one.signed(vendor, tokens[vendor]).sample if vendor in tokens else one.sample


def _send(stack: Stack, service: Service, sample: Sample) -> Exchange:
    return stack.http.request(
        sample.method, service.url + sample.path, headers=sample.headers, content=sample.content
    )


def _judge(operation: Operation, mode: str, answers: list[Exchange]) -> None:
    where = f"{operation.id}/{mode}"
    claim("generated requests", on=where, got=len(answers), relation="at_least", expected=1)
    failed = [one.status for one in answers if not one.status or one.status // 100 == 5]
    claim("answers with 5xx, or none", on=where, got=failed, expected=[], over=answers)
    broken = {text for one in answers for text in operation.findings(one)}
    got = sorted(broken)[:MOST_SHOWN]
    claim(OUTSIDE, on=where, got=got, expected=[], over=answers)
    taken = sum(one.status // 100 == 2 for one in answers)
    if mode == VALID:
        claim("valid requests taken", on=where, got=taken, relation="at_least", expected=1)
    elif operation.body() is not None:
        refused = len(answers) - taken
        claim("invalid requests refused", on=where, got=refused, relation="at_least", expected=1)
