"""Apply the rules to a folder of contracts.

Owns that nothing is left out in silence: a document that cannot be read is a finding of every rule
that would have read it, and so is one whose references name nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from system.contracts.reading.contract import Contract, load, released
from system.contracts.reading.document import Library
from system.contracts.rules.compatibility import check_compatibility, check_removed
from system.contracts.rules.examples import check_examples, examples
from system.contracts.rules.finding import RULES, Finding, Rule
from system.contracts.rules.house import check_house
from system.contracts.rules.validity import check_validity
from system.errors import ContractError


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The version of one document, and the numbers of its parts that were read."""

    domain: str
    version: str
    operations: int
    examples: int
    baselines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The result of a check."""

    rules: tuple[Rule, ...]
    documents: tuple[Summary, ...]
    """The documents that could be read."""
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make a check fail."""
        return tuple(one for one in self.findings if one.severity == "error")


def check(library: Library, rules: Collection[Rule] = RULES) -> Checked:
    """Apply rules to every document of a folder.

    Args:
        library: the folder.
        rules: the rules to apply.

    """
    chosen = tuple(rule for rule in RULES if rule in rules)
    contracts: list[Contract] = []
    findings: list[Finding] = []
    for domain in library.domains():
        try:
            contract = load(library, domain)
        except ContractError as error:
            findings += _unreadable(domain, chosen, str(error))
        else:
            if contract.broken and chosen != ("validity",):
                one = contract.broken[0]
                reason = f"the reference {one.got} at {one.where}, expected {one.expected}"
                findings += _unreadable(domain, set(chosen) - {"validity"}, reason)
            contracts.append(contract)
    for rule in chosen:
        findings += _applied(rule, library, contracts)
    return Checked(
        rules=chosen,
        documents=tuple(_summary(library, one) for one in contracts),
        findings=tuple(sorted(set(findings), key=_order)),
    )


def _order(one: Finding) -> tuple[str, ...]:
    return (one.document, one.message, one.rule)


def _applied(rule: Rule, library: Library, contracts: Iterable[Contract]) -> list[Finding]:
    """Return the findings of one rule; only `validity` reads documents with broken references."""
    if rule == "validity":
        return [one for contract in contracts for one in _of_one(rule, contract, check_validity)]
    whole = [contract for contract in contracts if not contract.broken]
    if rule == "house":
        return _of_house(whole)
    if rule == "examples":
        return [one for contract in whole for one in _of_one(rule, contract, check_examples)]

    def compatibility(contract: Contract) -> Iterator[Finding]:
        return check_compatibility(library, contract)

    found = [one for contract in whole for one in _of_one(rule, contract, compatibility)]
    return [*found, *_of_removed(library)]


def _of_removed(library: Library) -> list[Finding]:
    """Return the domains that were removed; each document reports a record that is unreadable."""
    try:
        return list(check_removed(library))
    except ContractError:
        return []


def _of_house(contracts: Iterable[Contract]) -> list[Finding]:
    """Return the findings of the rule that compares all documents, without malformed ones."""
    sound, findings = [], []
    for contract in contracts:
        problem = _of_one("house", contract, lambda one: check_house([one]))
        if any(one.name == "unreadable" for one in problem):
            findings += problem
        else:
            sound.append(contract)
    return [*findings, *check_house(sound)]


def _of_one(
    rule: Rule, contract: Contract, judge: Callable[[Contract], Iterator[Finding]]
) -> list[Finding]:
    """Return the findings of one document; where its form ends the rule, that is a finding."""
    try:
        return list(judge(contract))
    except (ContractError, LookupError, TypeError, AttributeError, ValueError) as error:
        # A document that is not valid can have any value anywhere; the rules read valid ones.
        reason = f"{type(error).__name__}: {error}"
        return _unreadable(contract.domain, (rule,), reason)


def _unreadable(domain: str, rules: Iterable[Rule], reason: str) -> list[Finding]:
    return [
        Finding(
            rule=rule,
            name="unreadable",
            document=domain,
            where="/",
            got=reason[:300],
            expected="a document that this rule can read",
        )
        for rule in rules
    ]


def _summary(library: Library, contract: Contract) -> Summary:
    try:
        baselines = tuple(released(library, contract.domain))
        counts = len(contract.operations), len(examples(contract))
    except (ContractError, LookupError, TypeError, AttributeError):
        baselines, counts = (), (0, 0)
    return Summary(
        domain=contract.domain,
        version=str(contract.version),
        operations=counts[0],
        examples=counts[1],
        baselines=baselines,
    )
