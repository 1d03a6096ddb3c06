"""Release the present version of a contract: write it as a baseline, and record its digest.

A baseline is written once. A document with findings is not released, and neither is one that breaks
the last version of its major number.
"""

from __future__ import annotations

import json
from pathlib import Path

from system.contracts.reading.contract import (
    Contract,
    baseline_name,
    digests,
    recorded_digests,
)
from system.contracts.reading.document import DIGESTS, Library
from system.contracts.rules.check import check
from system.errors import ContractError


def release(library: Library, contract: Contract) -> str:
    """Write the baseline of a contract and return its path, relative to the folder.

    Raises:
        ContractError: its version is released already, it has findings, or it cannot be written.

    """
    version = contract.version
    if version is None:
        got = contract.document.get("info", {}).get("version")
        raise ContractError(f"version: got {got}, expected MAJOR.MINOR.PATCH")
    name = baseline_name(contract.domain, version)
    path = library.root / name
    if path.exists():
        raise ContractError(
            f"baseline: got {name}, which exists and never changes, expected a new version: "
            "raise info.version"
        )
    _refuse_findings(library, contract)
    text = json.dumps(contract.document, indent=1, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        _record(library.root, name)
    except OSError as error:
        raise ContractError(f"baseline: got {error}, expected a folder to write in") from None
    return name


def _refuse_findings(library: Library, contract: Contract) -> None:
    """Refuse a document with an error; that this version has no baseline yet is none."""
    errors = [
        one
        for one in check(library).errors
        if one.document == contract.domain and one.name != "baseline-missing"
    ]
    if errors:
        raise ContractError(
            f"{contract.domain}: got {len(errors)} findings, expected none before a release; "
            f"the first: {errors[0].message}"
        )


def _record(root: Path, name: str) -> None:
    """Add the digest of one released version; those of others stay as they were recorded."""
    recorded = recorded_digests(root) | {name: dict(digests(root))[name]}
    lines = [f"{digest}  {path}\n" for path, digest in sorted(recorded.items())]
    (root / DIGESTS).write_bytes("".join(lines).encode())
