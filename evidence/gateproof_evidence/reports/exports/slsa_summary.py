"""The run as a SLSA verification summary v1: the policy, its subject and the result.

The policy is the catalogue. No SLSA level was evaluated, and the summary says so. There is no
``inputAttestations``: the bundle's attestation covers this file, so this file cannot name it.

Source: SLSA v1.0, "Verification Summary Attestation"; RFC 6920 (``ni`` URIs); SWHID 1.1 (``swh``).
"""

from __future__ import annotations

import base64
from typing import Any

from gateproof_evidence.model import Digest, Result, Run
from gateproof_evidence.reports.exports.interface import Export
from gateproof_evidence.reports.exports.test_result import format_statement, subjects

PREDICATE_TYPE = "https://slsa.dev/verification_summary/v1"
VERIFIER = "https://gateproof.dev/verifier/v1"


def render(run: Run) -> bytes:
    """Return the statement, unsigned: the bundle's attestation covers it.

    Raises:
        NothingToSayError: the run names neither a clean commit nor a system.

    """
    subjects(run)  # raises if there is nothing to name, before the resource is formatted
    passed = run.result is Result.RELEASED
    predicate = {
        "verifier": _verifier(run),
        "timeVerified": run.ended.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resourceUri": _resource_uri(run),
        "policy": {
            "uri": named_information(run.catalogue_digest),
            "digest": {"sha256": run.catalogue_digest.removeprefix("sha256:")},
        },
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED" if passed else "FAILED"],
        "slsaVersion": "1.0",
    }
    return format_statement(run, PREDICATE_TYPE, predicate)


def named_information(digest: Digest) -> str:
    """Return the URI of content by its digest, independent of its location."""
    raw = bytes.fromhex(digest.removeprefix("sha256:"))
    return f"ni:///sha-256;{base64.urlsafe_b64encode(raw).decode('ascii').rstrip('=')}"


def _verifier(run: Run) -> dict[str, Any]:
    own = run.bindings.versions.get("gateproof")
    return {"id": VERIFIER, **({"version": {"gateproof": own}} if own else {})}


def _resource_uri(run: Run) -> str:
    bound = run.bindings
    if bound.commit and bound.is_clean:
        return f"swh:1:rev:{bound.commit}"
    assert bound.system is not None  # `subjects` has refused a run without either
    return named_information(bound.system)


SLSA_SUMMARY = Export(name="slsa-summary", file="slsa-summary.intoto.json", render=render)
