"""The rules that one document meets by itself, each with a change that breaks it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from system.contracts.reading.document import FOLDER, Library
from system.contracts.rules.check import check
from system.contracts.rules.finding import Rule
from system.gates.contracts.pairs import TABLE

from .folder import OTHER, changed, write

FINDINGS = YAML(typ="safe").load(TABLE.with_name("findings.yaml"))
RULES: tuple[Rule, ...] = ("validity", "house", "examples")


def test_sound_document_has_no_finding(tmp_path: Path) -> None:
    """The document that the cases change meets every rule by itself."""
    checked = check(write(tmp_path), RULES)
    assert checked.findings == ()
    assert [(one.domain, one.operations) for one in checked.documents] == [
        ("aside", 1),
        ("orders", 1),
    ]


@pytest.mark.parametrize("case", FINDINGS, ids=lambda case: f"{case['rule']}:{case['after'][:40]}")
def test_change_is_found_by_its_rule(case: Mapping[str, Any], tmp_path: Path) -> None:
    """Each change has the finding that its entry names, or none if it names none."""
    library = write(tmp_path, changed(case["before"], case["after"]))
    found = [one for one in check(library, (case["rule"],)).findings if one.document == "orders"]
    messages = [one.message for one in found]
    assert bool(messages) == bool(case.get("finding")), messages
    assert case.get("finding", "") in "\n".join(messages)


@pytest.mark.parametrize("rule", [*RULES, "compatibility"])
def test_document_that_cannot_be_read_is_found_by_every_rule(rule: Rule, tmp_path: Path) -> None:
    """No rule passes because it had nothing to read."""
    found = check(write(tmp_path, "openapi: [3.1.0"), (rule,)).findings
    assert ("unreadable", "orders") in {(one.name, one.document) for one in found}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "paths: 1",
        "paths: { /a: 1 }",
        "paths: { /a: { get: { parameters: [1], responses: [] } } }",
        "paths: { /a: { get: { parameters: { a: b }, responses: { '200': null } } } }",
        "components: { schemas: [a] }",
        "components: { schemas: { A: { properties: [a], allOf: 1 } } }",
        "paths: { /a: { get: { requestBody: { $ref: '#/paths/~1a/get/requestBody' } } } }",
    ],
)
@pytest.mark.parametrize("rule", [*RULES, "compatibility"])
def test_document_of_any_form_is_judged_without_an_exception(
    text: str, rule: Rule, tmp_path: Path
) -> None:
    """A document that is not valid has a finding of validity, and ends no rule with a traceback."""
    library = write(tmp_path, f"openapi: 3.1.0\n{text}" if text != "[]" else text)
    found = [one for one in check(library, (rule,)).errors if one.document == "orders"]
    assert found or rule != "validity"


def test_id_that_two_domains_have_is_found_once(tmp_path: Path) -> None:
    """Ids are compared over all documents; the second document has the finding."""
    other = changed("theirs", "putOrder", OTHER)
    library = write(tmp_path)
    (tmp_path / "aside" / "openapi.yaml").write_text(other)
    found = check(library, RULES).findings
    assert [(one.document, one.name) for one in found] == [("orders", "operation-id-twice")]
    assert "aside GET /others" in found[0].expected


def test_contracts_of_the_system_meet_every_rule() -> None:
    """The committed documents have no finding, and are those of nine domains."""
    checked = check(Library(FOLDER))
    assert checked.findings == ()
    assert len(checked.documents) == 9
