"""The rule `compatibility`: no breaking change against the released versions.

A document is compared with the newest released version of its major number, and each released
version with the one before it of the same number: a version that is released over a break would
otherwise hide it. Released versions do not change: their digests are recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from system.contracts.comparison.change import Change
from system.contracts.comparison.document import compare
from system.contracts.reading.contract import (
    Contract,
    Version,
    baseline_name,
    digests,
    recorded_digests,
    released,
)
from system.contracts.reading.document import BASELINES, DIGESTS, DOCUMENT, Json, Library
from system.contracts.rules.finding import Finding, Severity


def check_compatibility(library: Library, contract: Contract) -> Iterator[Finding]:
    """Yield the breaking changes of a document, and what is wrong with its released versions.

    Raises:
        ContractError: a released version cannot be read.

    """
    versions: dict[Version, Json] = {}
    for name, document in released(library, contract.domain).items():
        version = Version.parse(name.removeprefix("v")) if name.startswith("v") else None
        stated = document.get("info", {}).get("version") if isinstance(document, dict) else None
        if version is None or stated != str(version):
            where = f"{BASELINES}/{name}"
            yield _finding(contract, "baseline-version", where, str(stated), "vMAJOR.MINOR.PATCH")
        else:
            versions[version] = document
    yield from _of_digests(library.root, contract)
    yield from _of_versions(contract, versions)


def check_removed(library: Library) -> Iterator[Finding]:
    """Yield the domains that have released versions on record and no document any more.

    Raises:
        ContractError: the record of digests has another form.

    """
    known = library.domains()
    recorded = {name.partition(f"/{BASELINES}/")[0] for name in recorded_digests(library.root)}
    for domain in sorted(recorded - set(known)):
        yield Finding(
            rule="compatibility",
            name="contract-removed",
            document=domain,
            where="/",
            got="released versions without a document",
            expected=f"{domain}/{DOCUMENT}: clients use what was released",
        )


def _of_versions(contract: Contract, versions: Mapping[Version, Json]) -> Iterator[Finding]:
    now = contract.version
    if now is None:
        got = str(contract.document.get("info", {}).get("version"))
        yield _finding(contract, "version", "/info/version", got, "MAJOR.MINOR.PATCH")
        return
    same = sorted(version for version in versions if version.major == now.major)
    for older, newer in pairwise(same):
        for change in compare(versions[older], versions[newer]):
            if change.is_breaking:
                yield _of_change(contract, change, f"{BASELINES}/v{newer}/")
    if not same:
        expected = f"{baseline_name(contract.domain, now)}; run: baseline {contract.domain}"
        yield _finding(contract, "baseline-missing", BASELINES, "no released version", expected)
    elif now < same[-1]:
        expected = f"{same[-1]} or later"
        yield _finding(contract, "version-lowered", "/info/version", str(now), expected)
    else:
        yield from _of_changes(contract, versions[same[-1]], same[-1], now)


def _of_changes(
    contract: Contract, old: Json, released_as: Version, now: Version
) -> Iterator[Finding]:
    changes = compare(old, contract.document)
    for change in changes:
        if change.is_breaking:
            yield _of_change(contract, change, "")
    if now == released_as and changes and not any(one.is_breaking for one in changes):
        yield _finding(
            contract,
            "version-not-raised",
            "/info/version",
            f"{now} with {len(changes)} compatible changes",
            "a later minor version",
            severity="warning",
        )


def _of_change(contract: Contract, change: Change, place: str) -> Finding:
    return _finding(contract, change.name, f"{place}{change.where}", change.got, change.expected)


def _of_digests(root: Path, contract: Contract) -> Iterator[Finding]:
    """Yield the released versions of a domain that were altered, added by hand or removed."""
    prefix = f"{contract.domain}/{BASELINES}/"
    recorded = {
        name: one for name, one in recorded_digests(root).items() if name.startswith(prefix)
    }
    present = {name: one for name, one in digests(root) if name.startswith(prefix)}
    for name in sorted(recorded.keys() | present.keys()):
        if recorded.get(name) != present.get(name):
            got = present.get(name, "no file")
            expected = f"{recorded.get(name, 'no such file')} as in {DIGESTS}"
            yield _finding(contract, "baseline-altered", name, got, expected)


def _finding(
    contract: Contract,
    name: str,
    where: str,
    got: str,
    expected: str,
    severity: Severity = "error",
) -> Finding:
    return Finding(
        rule="compatibility",
        name=name,
        document=contract.domain,
        where=where,
        got=got,
        expected=expected,
        severity=severity,
    )
