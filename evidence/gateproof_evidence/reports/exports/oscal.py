"""The run as OSCAL assessment results: an observation and a finding for each judged criterion.

A finding is satisfied or not-satisfied: only a proven pass is satisfied. Criteria that
do not apply or were not selected have no finding. Every UUID is derived from the run's nonce, so
that the same run gives the same document.

Source: NIST OSCAL 1.1.2, assessment-results model; RFC 9562 section 5.5 (UUIDv5).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from pydantic_core import to_json

from gateproof_evidence.format.layout import RUN, in_data
from gateproof_evidence.model import Digest, Disposition, Falsification, Outcome, Run, Verdict
from gateproof_evidence.reports.exports.interface import Export
from gateproof_evidence.reports.gap_matrix import gap_of, one_line, status_of

OSCAL_VERSION = "1.1.2"
NAMESPACE = "https://gateproof.dev/ns/oscal"
"""The namespace of our property names, and of the UUIDs."""

_NOT_JUDGED = (Outcome.NOTAPPLICABLE, Outcome.NOTSELECTED, Outcome.NOTDESCRIBED)


def render(run: Run) -> bytes:
    """Return the document as JSON."""
    document = {"assessment-results": _AssessmentResults(run).document()}
    return to_json(document, indent=2) + b"\n"


class _AssessmentResults:
    """One document; every method returns one of its parts."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._judged = [v for v in run.criteria if v.outcome not in _NOT_JUDGED]

    def document(self) -> dict[str, Any]:
        plan = self._uuid("catalogue")
        return {
            "uuid": self._uuid("document"),
            "metadata": {
                "title": "Gate run",
                "last-modified": _moment(self._run.ended),
                "version": self._run.bindings.nonce,
                "oscal-version": OSCAL_VERSION,
            },
            "import-ap": {
                "href": f"#{plan}",
                "remarks": "There is no OSCAL assessment plan: the criteria to assess are the "
                "signed catalogue of criteria.",
            },
            "results": [self._result()],
            "back-matter": {
                "resources": [
                    {
                        "uuid": plan,
                        "title": "Catalogue of criteria",
                        "rlinks": [_link("../catalogue.json", self._run.catalogue_digest)],
                    }
                ]
            },
        }

    def _result(self) -> dict[str, Any]:
        result = {
            "uuid": self._uuid("result"),
            "title": f"Gate run: {self._run.result.value}",
            "description": "The verdicts on all criteria of the catalogue, by checks that were "
            "tested with falsifiers.",
            "start": _moment(self._run.started),
            "end": _moment(self._run.ended),
            "props": _props(self._identifiers()),
            "reviewed-controls": self._reviewed(),
        }
        if self._judged:  # OSCAL forbids empty lists
            result["observations"] = [self._observation(verdict) for verdict in self._judged]
            result["findings"] = [self._finding(verdict) for verdict in self._judged]
        return result

    def _identifiers(self) -> Iterable[tuple[str, object]]:
        run, bound = self._run, self._run.bindings
        yield "result", run.result.value
        yield "exit-status", run.exit_status
        yield "commit", bound.commit
        yield "tree", bound.tree
        yield "dirty", None if bound.dirty is None else str(bound.dirty).lower()
        yield "system-digest", bound.system
        yield "sut-digest", bound.sut
        if run.environment:
            yield "environment", run.environment.kind
            yield "postgresql", run.environment.postgres

    def _reviewed(self) -> dict[str, Any]:
        description = "Criteria of the catalogue; their ids are used as control ids."
        if not self._judged:
            return {"description": description, "control-selections": [{"include-all": {}}]}
        included = [{"control-id": verdict.id} for verdict in self._judged]
        selection = {"include-controls": included}
        return {"description": description, "control-selections": [selection]}

    def _observation(self, verdict: Verdict) -> dict[str, Any]:
        return {
            "uuid": self._uuid(f"observation/{verdict.id}"),
            "title": verdict.id,
            "description": one_line(verdict.statement),
            "props": _props(_qualities(verdict)),
            "methods": ["TEST"],
            "types": ["finding"],
            "relevant-evidence": _evidence(verdict),
            "collected": _moment(self._run.ended),
            "remarks": "This is the latest time; the journal has the time of each observation.",
        }

    def _finding(self, verdict: Verdict) -> dict[str, Any]:
        return {
            "uuid": self._uuid(f"finding/{verdict.id}"),
            "title": f"{verdict.id}: {status_of(verdict)}",
            "description": gap_of(verdict)
            or "The claim held, and it was shown that its check can fail.",
            "target": {
                "type": "objective-id",
                "target-id": verdict.id,
                "status": _status(verdict),
            },
            "related-observations": [{"observation-uuid": self._uuid(f"observation/{verdict.id}")}],
        }

    def _uuid(self, name: str) -> str:
        return str(uuid5(NAMESPACE_URL, f"{NAMESPACE}/{self._run.bindings.nonce}/{name}"))


def _qualities(verdict: Verdict) -> Iterable[tuple[str, object]]:
    yield "gate", verdict.gate
    yield "phase", verdict.phase
    yield "severity", verdict.severity.value
    yield "outcome", verdict.outcome.value
    yield "cause", verdict.cause.value if verdict.cause else None
    yield "falsification", verdict.falsification.value
    yield "disposition", verdict.disposition.value
    yield "source", one_line(verdict.source)


def _evidence(verdict: Verdict) -> list[dict[str, Any]]:
    """Return every capture and the transcripts of proofs, or the run itself if there is neither."""
    found = [
        {
            "href": _href(place.rpartition(":")[0]),
            "description": f"capture, line {place.rpartition(':')[2]}",
            "props": _props([("digest", digest)]),
        }
        for place, digest in zip(verdict.captures, verdict.observations, strict=True)
    ]
    found += [
        {"href": _href(proof.transcript), "description": f"proof by {proof.falsifier}"}
        for proof in verdict.proofs
        if proof.transcript
    ]
    run = {"href": _href(in_data(RUN)), "description": "the run"}
    return found or [run]


def _href(path: str) -> str:
    """Return a path that is relative to ``data/`` as a reference from ``data/exports/``."""
    return f"../{quote(path)}"


def _status(verdict: Verdict) -> dict[str, Any]:
    passed = verdict.outcome is Outcome.PASS
    if passed and verdict.falsification is Falsification.PROVEN:
        return {"state": "satisfied", "reason": "pass"}
    failed = verdict.outcome is Outcome.FAIL
    status = {"state": "not-satisfied", "reason": "fail" if failed else "other"}
    if verdict.disposition is Disposition.WAIVED:
        status["remarks"] = "A named person accepts this failure until a date."
    return status


def _props(values: Iterable[tuple[str, object]]) -> list[dict[str, str]]:
    return [
        {"name": name, "ns": NAMESPACE, "value": str(value)}
        for name, value in values
        if value not in (None, "")
    ]


def _link(href: str, digest: Digest) -> dict[str, Any]:
    value = digest.removeprefix("sha256:")
    return {"href": href, "hashes": [{"algorithm": "SHA-256", "value": value}]}


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


OSCAL = Export(name="oscal", file="oscal-assessment-results.json", render=render)
