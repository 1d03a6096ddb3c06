"""Gate contracts: what the documents promise, before any service is running.

The falsifiers change documents, and are in `system/falsifiers.toml` with those of other files.
"""

from __future__ import annotations

from gateproof import FileProbe, ProcessProbe, Sut, claim, criterion

from .report import apply_rule, count_operations, judge_findings


@criterion("CON-01")
def test_documents_are_valid(machine: ProcessProbe, sut: Sut) -> None:
    """Every document is valid OpenAPI 3.1, and every reference resolves inside the folder."""
    if report := apply_rule(machine, sut, "validity"):
        judge_findings(report)


@criterion("CON-02")
def test_operations_meet_the_house_rules(machine: ProcessProbe, files: FileProbe, sut: Sut) -> None:
    """Every operation has its id, security, correlation id, examples and problem documents."""
    report = apply_rule(machine, sut, "house")
    if report is None:
        return
    for domain, document in sorted(report.documents.items()):
        counted = count_operations(files, domain)
        got = document["operations"]
        claim("operations that were read", on=domain, got=got, expected=counted)
    judge_findings(report)


@criterion("CON-03")
def test_no_change_breaks_a_client(machine: ProcessProbe, sut: Sut) -> None:
    """No document breaks a client of its last released version, and no such version changed."""
    report = apply_rule(machine, sut, "compatibility")
    if report is None:
        return
    for domain, document in sorted(report.documents.items()):
        got = len(document["baselines"])
        claim("released versions", on=domain, got=got, relation="at_least", expected=1)
    judge_findings(report)


@criterion("CON-04")
def test_examples_are_valid(machine: ProcessProbe, sut: Sut) -> None:
    """Every example of a request and a response is valid against its schema."""
    report = apply_rule(machine, sut, "examples")
    if report is None:
        return
    for domain, document in sorted(report.documents.items()):
        got = document["examples"]
        claim("examples that were read", on=domain, got=got, relation="at_least", expected=1)
    judge_findings(report)
