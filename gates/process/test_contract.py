"""Gate process: the answers to described requests are those that their document allows."""

from __future__ import annotations

from gateproof import Fault, Stack, Sut, claim, criterion, falsified_by_each, http, slug_of

from ..route import interrupted, separate_route
from .contract import Contract, contract_of
from .described import each_request, request_named, requests

NOT_ALLOWED = "parts of the answer that the document does not allow"
FIRST, AGAIN, AWAY = "first answer", "answer again", "answer without the database"
"""Names of claims and objects that falsifiers predict."""

ANY_PATH = "/*"
UNUSED_STATUS = 299

Prediction = tuple[Fault, tuple[str, str, str]]


def with_document(sut: Sut) -> list[str]:
    """Return the requests that have a document."""
    return requests(sut, "openapi")


def other_status(sut: Sut, name: str) -> Prediction:
    """Return a fault that answers with a status which no document has."""
    one = request_named(sut, name)
    fault = http(
        slug_of("other-status", name),
        ANY_PATH,
        method=one.method,
        status=UNUSED_STATUS,
        when_status=one.accepted,
        sample="{}",
    )
    return fault, (NOT_ALLOWED, f"{name}/{FIRST}", f"status {UNUSED_STATUS}: not described")


def broken_body(sut: Sut, name: str) -> Prediction:
    """Return a fault that cuts the body of an answer."""
    one = request_named(sut, name)
    fault = http(
        slug_of("body-cut-off", name),
        ANY_PATH,
        method=one.method,
        body='{"cut',
        when_status=one.accepted,
        sample="{}",
    )
    return fault, (NOT_ALLOWED, f"{name}/{FIRST}", f"status {one.accepted}: ")


@criterion("PRC-08", needs=("database", "process.request.openapi"))
@falsified_by_each(with_document, other_status)
@falsified_by_each(with_document, broken_body)
def test_answers_keep_their_contract(own_stack: Stack, sut: Sut) -> None:
    """The answers to a request, to an equal one, and without the database are in the document."""
    for name, process_name, request in each_request(sut, "openapi"):
        with (
            separate_route(own_stack) as relay,
            own_stack.running_process(process_name, through=relay.address) as process,
        ):
            contract: Contract = contract_of(process, request)
            sample = process.sample(request)
            answers = {FIRST: process.send(sample), AGAIN: process.send(sample)}
            with interrupted(relay, "away"):
                answers[AWAY] = process.send(process.sample(request))
            for when, answer in answers.items():
                found = contract.findings(sample.method, sample.path, answer)
                claim(NOT_ALLOWED, on=f"{name}/{when}", got=found, expected=[])
