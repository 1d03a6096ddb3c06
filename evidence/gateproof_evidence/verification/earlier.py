"""Reading an earlier bundle, for checks and proofs that a run can reuse.

Owns verifying it with a key from outside, and finding its passed checks and its proofs with what
they depend on. Leaves what these depend on now to the caller, and the comparison of what was reused
with the earlier bundle to `gateproof_evidence.verification.takeover`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.attestation import Predicate, parse_statement
from gateproof_evidence.format.canonical import digest_of, read_json
from gateproof_evidence.format.envelope import Envelope
from gateproof_evidence.format.layout import (
    ATTESTATION,
    JOURNAL,
    RUN,
    taken_over,
    taken_over_run,
)
from gateproof_evidence.model import (
    RECORD,
    Bound,
    DependenceEvent,
    Digest,
    Falsification,
    ProofEvent,
    Run,
    RunEvent,
    TakenOverEvent,
    Verdict,
    loaded,
)
from gateproof_evidence.verification.takeover import passed_checks

Changed = Callable[[Mapping[str, str]], bool]
"""Returns whether any file, module or function has another digest now than the given one."""

Frame = Mapping[str, str]
"""The parts that an item depends on, but the contents of the system's files, with digests."""

_PROOFS = (b'"kind":"proof"', b'"kind":"taken-over"')
_PARSED = (b'"kind":"dependence"', b'"event":"sources"', b'"event":"units"')
"""Parts of the lines of the journal that are parsed; all of it was verified before."""


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """All that an item of an earlier run depended on."""

    item: str
    """The node id of the check."""
    frame: Mapping[str, str]
    """See `gateproof_evidence.model.DependenceEvent`."""
    uses: Mapping[str, str] = field(repr=False)
    """Maps each file, module and function of the system that it used to its digest."""
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """An earlier bundle that verified, signed by a key from outside."""

    attestation: bytes
    digest: Digest
    run: bytes
    """Its ``run.json``."""
    sealed: datetime
    commit: str
    proofs: Mapping[tuple[str, str], ProofEvent]
    """Criterion and falsifier, to the steps of the proof, if it was proven."""
    checks: Mapping[str, Verdict]
    """Criterion to the verdict on its check, if that passed, with the time of its own run."""
    dependences: Mapping[tuple[str, str], Dependence]
    """Criterion and falsifier (empty for the check) to what the item depended on."""

    bound: tuple[Bound, ...]
    """The files that its verdicts depended on."""

    def find(
        self,
        criterion: str,
        falsifier: str,
        frame: Frame,
        *,
        now: Iterable[Bound],
        changed: Changed,
    ) -> ProofEvent | None:
        """Return a proof that depends on nothing that has changed, or None.

        Args:
            criterion: the id.
            falsifier: its name.
            frame: the digests of what it depends on, but the contents of the system's files.
            now: the plugins and the other code of this run: a proof is not reused if the earlier
                run loaded more, because that may have made it.
            changed: returns whether anything that it used of the system has changed.

        """
        if self._counts(criterion, falsifier, frame, now, changed):
            return self.proofs.get((criterion, falsifier))
        return None

    def find_check(
        self, criterion: str, frame: Frame, *, now: Iterable[Bound], changed: Changed
    ) -> Verdict | None:
        """Return the verdict on a check that passed and depends on nothing that has changed.

        Args: as for `find`.
        """
        if self._counts(criterion, "", frame, now, changed):
            return self.checks.get(criterion)
        return None

    @property
    def name(self) -> str:
        """The path of its attestation in a later bundle."""
        return taken_over(self.digest)

    @property
    def run_name(self) -> str:
        """The path of its ``run.json`` in a later bundle."""
        return taken_over_run(self.digest)

    def _counts(
        self,
        criterion: str,
        falsifier: str,
        frame: Frame,
        now: Iterable[Bound],
        changed: Changed,
    ) -> bool:
        before = self.dependences.get((criterion, falsifier))
        if before is None or before.frame != frame or loaded(self.bound) - loaded(now):
            return False
        return not changed(before.uses)


def read_earlier(bundle: Path, key: bytes, *, verified: Digest | None = None) -> Earlier:
    """Verify an earlier bundle and read its checks and proofs.

    Args:
        bundle: its folder or its ZIP archive.
        key: the public key that it must be signed with, from outside the bundle.
        verified: the digest of its attestation, if another process of this run has verified it.

    Raises:
        BadInputError: it does not verify, or another key signed it.

    """
    source = open_source(bundle)
    predicate, attestation = (
        _verified(source, key) if verified is None else _verified_before(source, verified)
    )
    digests = {file.path: file.digest for file in predicate.files}
    content, journal = _attested(source, RUN, digests), _attested(source, JOURNAL, digests)
    run = Run.model_validate(read_json(content))
    return Earlier(
        attestation=attestation,
        digest=digest_of(attestation),
        run=content,
        sealed=predicate.sealed,
        commit=run.bindings.commit or "",
        proofs=read_proofs(run, journal),
        checks=passed_checks(run),
        dependences=read_dependences(journal),
        bound=predicate.bound,
    )


def read_dependences(journal: bytes) -> dict[tuple[str, str], Dependence]:
    """Return what the items of a run depended on: by criterion and falsifier, empty for the check.

    Args:
        journal: the content of ``journal.jsonl``, which was verified.

    """
    sources: dict[str, dict[str, str]] = {}
    names: dict[tuple[str, str], list[str]] = {}
    events: list[DependenceEvent] = []
    for line in journal.splitlines():
        if not any(part in line for part in _PARSED):
            continue
        record = RECORD.validate_json(line)
        if isinstance(record, DependenceEvent):
            events.append(record)
        elif isinstance(record, RunEvent) and record.event == "sources":
            sources.setdefault(record.writer, {}).update(_texts(record.data))
        elif isinstance(record, RunEvent) and record.event == "units":
            names[record.writer, str(record.data["id"])] = list(map(str, _list(record.data)))
    uses = {
        (writer, name): {unit: sources[writer][unit] for unit in units}
        for (writer, name), units in names.items()
    }
    return {
        (one.criterion, one.falsifier): Dependence(
            item=one.item, frame=one.frame, uses=uses[one.writer, one.uses], unknown=one.unknown
        )
        for one in events
    }


def read_proofs(run: Run, journal: bytes) -> dict[tuple[str, str], ProofEvent]:
    """Return the steps of the proofs of a run that succeeded, by criterion and falsifier.

    Args:
        run: the run.
        journal: the content of ``journal.jsonl``, which was verified.

    """
    proven = {
        (verdict.id, proof.falsifier)
        for verdict in run.criteria
        for proof in verdict.proofs
        if proof.result is Falsification.PROVEN
    }
    found: dict[tuple[str, str], ProofEvent] = {}
    for line in journal.splitlines():
        if any(part in line for part in _PROOFS):
            record = RECORD.validate_json(line)
            if isinstance(record, ProofEvent | TakenOverEvent):
                story = record.story if isinstance(record, TakenOverEvent) else record
                found[record.criterion, record.falsifier] = story
    return {name: story for name, story in found.items() if name in proven}


def _texts(data: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in data.items()}


def _list(data: Mapping[str, object]) -> list[object]:
    units = data["units"]
    return units if isinstance(units, list) else []


def _verified(bundle: Source, key: bytes) -> tuple[Predicate, bytes]:
    from gateproof_evidence.verification.bundle import (
        verify,  # imported only here: every process of every run imports this module
    )

    found = verify(bundle, key=key)
    if not found.ok or found.predicate is None:
        first = next(iter(found.findings), None)
        raise BadInputError(
            f"{bundle.path}: --proofs-from: got {first}, expected a bundle that verifies with "
            "--proofs-key; gateproof verify reports more, --fresh repeats all proofs"
        )
    return found.predicate, bundle.read(ATTESTATION)


def _verified_before(bundle: Source, digest: Digest) -> tuple[Predicate, bytes]:
    """Return the statement of a bundle that was verified; its files are compared when read."""
    attestation = bundle.read(ATTESTATION)
    if digest_of(attestation) != digest:
        raise BadInputError(
            f"{bundle.path / ATTESTATION}: --proofs-from: changed while it was read"
        )
    return parse_statement(Envelope.from_bytes(attestation).payload), attestation


def _attested(bundle: Source, path: str, digests: Mapping[str, Digest]) -> bytes:
    """Read a file again, and check that it still has its attested digest."""
    content = bundle.read(path)
    if digest_of(content) != digests.get(path):
        raise BadInputError(f"{bundle.path / path}: --proofs-from: changed while it was read")
    return content
