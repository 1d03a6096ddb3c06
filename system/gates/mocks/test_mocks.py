"""Gate mocks: how mock servers start and stop, and what they answer.

The falsifiers change files, and are in `system/falsifiers.toml`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus

from gateproof import (
    Completed,
    Exchange,
    FileProbe,
    HttpProbe,
    Ids,
    ProcessProbe,
    Stack,
    Sut,
    claim,
    criterion,
    premise,
    wait_until,
)
from system.gates.contracts.document import PROBLEM_TYPE, Operation, Sample, operations
from system.gates.ingestion.delivery import SIGNATURES, VENDORS, Delivery, signed
from system.gates.ingestion.service import running_service

from .servers import DOMAINS, Mocks, content_of, running_mocks

SUCCESS = "answer to an allowed request"
FORBIDDEN = "answer to a forbidden request"
SEED = "seed=gate"


@criterion("MCK-01")
def test_all_start_and_nothing_is_left(machine: ProcessProbe, http: HttpProbe, sut: Sut) -> None:
    """All nine answer when the start returns, a taken port is named, and the stop leaves none."""
    mocks = Mocks.on_free_ports(machine, http, sut)
    pids: list[int] = []
    try:
        started = mocks.run("start")
        pid = content_of(started).get("pid")
        if isinstance(pid, int):
            pids.append(pid)  # (before any claim: a falsified check ends at its finding)
        if not claim("exit status of the start", got=started.exit_status, expected=0):
            return
        premise("process in the answer of the start", got=bool(pids), expected=True)
        for domain in DOMAINS:
            claim(
                "server answers after the start",
                on=domain,
                got=mocks.answers(domain),
                expected=True,
            )
        _judge_taken_port(mocks)
        unknown = mocks.run("start", "--only", "webhooks")
        claim("exit status with an unknown domain", got=unknown.exit_status, expected=2)
        mocks.kill(pids[0])
        wait_until(lambda: mocks.state_of(pids[0]) == "ended", deadline_s=10)
        claim("process after a kill", got=content_of(mocks.run("status")).get("pid"), expected=None)
        again = mocks.run("start", "--only", "health")
        pids.append(_pid(again))
        claim("start after a kill", got=mocks.answers("health"), expected=True)
        claim("exit status of the stop", got=mocks.run("stop").exit_status, expected=0)
        claim("process after the stop", got=mocks.state_of(pids[1]), expected="ended")
        claim("server answers after the stop", got=mocks.answers("health"), expected=False)
    finally:
        mocks.run("stop")
        for pid in pids:
            mocks.kill(pid)


def _pid(started: Completed) -> int:
    """Return the process in the answer of a start, without which nothing more can be judged."""
    pid = content_of(started).get("pid")
    premise("process in the answer of the start", got=isinstance(pid, int), expected=True)
    return int(pid or 0)


def _judge_taken_port(mocks: Mocks) -> None:
    """Claim that a start on the second port of a running server names the port and its domain."""
    port = mocks.base_port + 1
    done = mocks.run("start", "--only", "auth", base_port=port)
    claim("exit status with a taken port", got=done.exit_status, expected=1)
    claim(
        "message names the taken port", got=f"port: got {port} (auth)" in done.output, expected=True
    )


@criterion("MCK-02")
def test_answers_are_allowed(
    machine: ProcessProbe, files: FileProbe, http: HttpProbe, sut: Sut
) -> None:
    """Every operation answers with what its contract allows, from examples and generated."""
    with running_mocks(machine, http, sut) as mocks:
        for operation in _all(files):
            sample = operation.sample()
            for mode, prefer in (("static", ""), ("dynamic", f"dynamic=true, {SEED}")):
                answer = mocks.send(operation.domain, sample, prefer=prefer)
                found = [f"status {answer.status}"] if answer.status // 100 != 2 else []
                got = [*found, *operation.findings(answer)]
                claim(SUCCESS, on=f"{operation.id}/{mode}", got=got, expected=[])


@criterion("MCK-03")
def test_forbidden_requests_are_refused(
    machine: ProcessProbe, files: FileProbe, http: HttpProbe, sut: Sut
) -> None:
    """A request without credentials, a header or a valid body or query gets a problem document."""
    with running_mocks(machine, http, sut) as mocks:
        for operation in _all(files):
            for case, sample in _forbidden(operation):
                answer = mocks.send(operation.domain, sample)
                claim(
                    FORBIDDEN,
                    on=f"{operation.id}/{case}",
                    got=_refusal(operation, answer),
                    expected=[],
                )


def _all(files: FileProbe) -> list[Operation]:
    return [one for domain in DOMAINS for one in operations(files, domain)]


def _forbidden(operation: Operation) -> Iterator[tuple[str, Sample]]:
    """Yield requests that the contract forbids, each with the name of its case."""
    sample = operation.sample()
    for name in operation.credentials:
        yield "no credentials", sample.without(name)
    for one in operation.parameters:
        if one["in"] == "header" and one.get("required"):
            yield f"no {one['name']}", sample.without(one["name"])
        if one["in"] == "query" and one["name"] == "limit":
            yield "limit of zero", replace(sample, path=f"{sample.path}?limit=0")
    if operation.body() is not None:
        yield "empty object", sample.with_body({})
        yield "body of another type", sample.with_body(["no", "object"])


def _refusal(operation: Operation, answer: Exchange) -> list[str]:
    """Return why an answer is no refusal that the contract allows."""
    found = [] if answer.status // 100 == 4 else [f"status {answer.status}"]
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if media_type != PROBLEM_TYPE:
        found.append(f"media type {media_type}")
    return [*found, *operation.findings(answer)]


@criterion("MCK-04", needs=("database", "tenancy", "broker.kind=sqla"))
def test_mock_and_service_agree(
    machine: ProcessProbe,
    files: FileProbe,
    http: HttpProbe,
    sut: Sut,
    own_stack: Stack,
    ids: Ids,
) -> None:
    """Mock and service give the same status, and bodies of one schema, to the same requests."""
    tenant = str(ids.uuid())
    domains = ("health", *(f"webhooks/{vendor}" for vendor in VENDORS))
    with (
        running_mocks(machine, http, sut, *domains) as mocks,
        running_service(own_stack) as service,
    ):
        for operation in operations(files, "health"):
            sample = operation.sample()
            pair = mocks.send("health", sample), http.get(service.url + sample.path)
            _judge_pair(operation, "plain", pair, expected=HTTPStatus.OK)
        for vendor in VENDORS:
            (operation,) = operations(files, f"webhooks/{vendor}")
            path = operation.sample().path
            for case, sent, status in _deliveries(vendor, ids):
                sample = Sample(method="POST", path=path, headers=sent.headers, content=sent.body)
                prefer = f"code={status}" if status // 100 == 2 else ""
                by_mock = mocks.send(operation.domain, sample, prefer=prefer)
                pair = by_mock, service.send(sent, tenant)
                _judge_pair(operation, case, pair, expected=status)


def _deliveries(vendor: str, ids: Ids) -> Iterator[tuple[str, Delivery, int]]:
    """Yield deliveries, each with its case and the status of its answer.

    A mock server keeps nothing, so of the two statuses of success it is asked for the one.
    """
    event = signed(vendor, ids.uuid().hex)
    yield "first", event, HTTPStatus.ACCEPTED
    yield "again", event, HTTPStatus.OK
    yield "no signature", event.without(SIGNATURES[vendor]), HTTPStatus.UNAUTHORIZED
    plain = replace(event, headers={**event.headers, "content-type": "text/plain"})
    yield "another media type", plain, HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    broken = signed(vendor, ids.uuid().hex, change={"id": None})
    yield "broken contract", broken, HTTPStatus.UNPROCESSABLE_ENTITY


def _judge_pair(
    operation: Operation, case: str, pair: tuple[Exchange, Exchange], *, expected: int
) -> None:
    """Claim that both answers have the status, and what the contract allows for it."""
    where = f"{operation.id}/{case}"
    got = [one.status for one in pair]
    claim("statuses of mock and service", on=where, got=got, expected=[int(expected)] * 2)
    for name, answer in zip(("mock", "service"), pair, strict=True):
        claim(f"answer of the {name}", on=where, got=operation.findings(answer), expected=[])
