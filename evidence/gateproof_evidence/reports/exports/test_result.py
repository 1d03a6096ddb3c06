"""The run as an in-toto ``test-result`` v0.1 statement, with no claim beyond the run.

The format has passed, warned and failed tests. A proven pass is passed; a pass that is not proven,
and a failure under a valid waiver, are warned; another failure is failed. Criteria with any other
outcome were not tested and are in no list. Only a released run is PASSED or WARNED.

Source: in-toto attestation, predicates/test-result.md (v0.1) and v1/digest_set.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gateproof_evidence.format.canonical import canonical_json
from gateproof_evidence.model import (
    Digest,
    Disposition,
    Falsification,
    Outcome,
    Result,
    Run,
    Verdict,
)
from gateproof_evidence.reports.exports.interface import Export, NothingToSayError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
LISTING = "listing of the system's files: digest, two spaces and path on each line"


def render(run: Run) -> bytes:
    """Return the statement, unsigned: the bundle's attestation covers it.

    Raises:
        NothingToSayError: the run names nothing that could be the statement's subject.

    """
    warned = _ids(run, _is_warned)
    predicate = {
        "result": _result(run, warned),
        "configuration": list(_configuration(run)),
        "passedTests": _ids(run, _is_passed),
        "warnedTests": warned,
        "failedTests": _ids(run, _is_failed),
    }
    return format_statement(run, PREDICATE_TYPE, predicate)


def format_statement(run: Run, predicate_type: str, predicate: dict[str, Any]) -> bytes:
    """Return a statement about the system that the run judged, as canonical JSON."""
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": list(subjects(run)),
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def subjects(run: Run) -> tuple[dict[str, Any], ...]:
    """Return what was judged: the commit, if the tree was clean, and the files of the system.

    Raises:
        NothingToSayError: neither is known.

    """
    found = [*_commit(run)]
    if run.bindings.system:
        found.append(_resource(LISTING, run.bindings.system))
    if not found:
        raise NothingToSayError(
            "subject: got a run without a clean commit and without a system, expected one of them "
            "to make a statement about; commit the changes and run again"
        )
    return tuple(found)


def _commit(run: Run) -> Iterator[dict[str, Any]]:
    if run.bindings.commit and run.bindings.is_clean:
        digest = {"gitCommit": run.bindings.commit}
        if run.bindings.tree:
            digest["gitTree"] = run.bindings.tree
        yield {"name": "commit of the system under test", "digest": digest}


def _configuration(run: Run) -> Iterator[dict[str, Any]]:
    yield _resource("catalogue.json", run.catalogue_digest)
    yield _resource("sut.toml", run.bindings.sut)
    for name, digest in sorted(run.bindings.images.items()):
        yield _resource(f"image {name}", digest)


def _resource(name: str, digest: Digest) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}


def _result(run: Run, warned: list[str]) -> str:
    if run.result is not Result.RELEASED:
        return "FAILED"
    return "WARNED" if warned else "PASSED"


def _ids(run: Run, belongs: Callable[[Verdict], bool]) -> list[str]:
    return [verdict.id for verdict in run.criteria if belongs(verdict)]


def _is_passed(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.PASS and verdict.falsification is Falsification.PROVEN


def _is_warned(verdict: Verdict) -> bool:
    if verdict.outcome is Outcome.PASS:
        return verdict.falsification is not Falsification.PROVEN
    return verdict.outcome is Outcome.FAIL and verdict.disposition is Disposition.WAIVED


def _is_failed(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.FAIL and verdict.disposition is not Disposition.WAIVED


TEST_RESULT = Export(name="test-result", file="test-result.intoto.json", render=render)
