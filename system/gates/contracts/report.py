"""Run the system's command for contracts and state claims over its report.

The command is the system's own, so a check also claims what the command read: the domains are
listed here, and the operations are counted in the documents by another reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gateproof import FileProbe, ProcessProbe, Sut, claim

COMMAND = ("{python}", "-m", "system.contracts", "check", "--json", "--rule")
FOLDER = "system/contracts"
DOMAINS = (
    "attribution",
    "auth",
    "export",
    "health",
    "reconciliation",
    "webhooks/paypal",
    "webhooks/shopify",
    "webhooks/stripe",
    "webhooks/woocommerce",
)
"""The domains that the system promises contracts for, sorted."""

METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of one rule."""

    rule: str
    documents: Mapping[str, Mapping[str, Any]]
    """The summary of each document that the command read, by its domain."""
    findings: tuple[Mapping[str, Any], ...]
    """The findings of severity error."""
    exit_status: int


def apply_rule(machine: ProcessProbe, sut: Sut, rule: str) -> Report | None:
    """Apply a rule to all contracts and claim that the command read them all.

    Returns:
        The report; None if the command gave none, which is then claimed.

    """
    done = machine.run(sut.fill((*COMMAND, rule)), env={}, folder=sut.folder)
    read = _report(rule, done.output, done.exit_status)
    if not claim("report of the command", on=rule, got=read is not None, expected=True):
        return None
    if read:
        got = sorted(read.documents)
        claim("contracts that were read", on=rule, got=got, expected=list(DOMAINS))
    return read


def _report(rule: str, output: str, exit_status: int) -> Report | None:
    """Return the report in the output of the command; None for any other output."""
    try:
        content = json.loads(output)
        return Report(
            rule=rule,
            documents={one["domain"]: one for one in content["documents"]},
            findings=tuple(one for one in content["findings"] if one["severity"] == "error"),
            exit_status=exit_status,
        )
    except (ValueError, TypeError, KeyError):
        return None


def judge_findings(report: Report) -> None:
    """Claim that no document has a finding, and that the exit status says the same."""
    for domain in sorted({*DOMAINS, *(str(one["document"]) for one in report.findings)}):
        found = [
            f"{one['name']}: {one['where']}: {one['got']}"
            for one in report.findings
            if one["document"] == domain
        ]
        claim(f"findings of the rule {report.rule}", on=domain, got=found, expected=[])
    claim("exit status of the command", on=report.rule, got=report.exit_status, expected=0)


def count_operations(files: FileProbe, domain: str) -> int | None:
    """Return the number of operations in a document; None if it cannot be read."""
    text = files.read(f"{FOLDER}/{domain}/openapi.yaml")
    try:
        paths = YAML(typ="safe").load(text or "")["paths"]
        return sum(len(METHODS & set(item)) for item in paths.values())
    except (YAMLError, TypeError, KeyError, AttributeError):
        return None
