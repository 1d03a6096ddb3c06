"""The run as an in-toto ``test-result`` v0.1 statement, with what is true and no more.

The format knows passed, warned and failed tests. A pass that is proven is passed; a pass that is
not, and a failure under a valid waiver, are warned; a failure is failed. Criteria with any other
outcome were not tested and stand in no list. Only a released run is PASSED or WARNED.

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
LISTING = "listing of the system's files: digest, two blanks, path, line by line"


def render(run: Run) -> bytes:
    """Return the statement, unsigned: the bundle's attestation covers it.

    Raises:
        NothingToSayError: the run is bound to nothing that could be the statement's subject.

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
    """Return what was judged: the commit, where the tree was the commit's, and the system's files.

    Raises:
        NothingToSayError: neither is known.

    """
    found = [*_commit(run)]
    if run.bindings.system:
        found.append(_resource(LISTING, run.bindings.system))
    if not found:
        raise NothingToSayError(
            "subject: got a run that is bound to no clean commit and no system, expected one of "
            "them to make a statement about; commit the changes and run again"
        )
    return tuple(found)


def _commit(run: Run) -> Iterator[dict[str, Any]]:
    if run.bindings.commit and run.bindings.dirty is False:
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
