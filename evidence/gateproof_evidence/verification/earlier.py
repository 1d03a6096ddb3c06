"""Reading an earlier bundle, for proofs that a run can reuse.

Owns verifying it with a key from outside, and finding its proofs. Leaves the digest of what a proof
depends on to the caller, and the check of a reused proof in the later bundle to
`gateproof_evidence.verification.takeover`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.canonical import digest_of, read_json
from gateproof_evidence.format.layout import ATTESTATION, RUN, in_bundle, taken_over
from gateproof_evidence.model import Bound, Digest, Falsification, ProofEvent, Run, loaded
from gateproof_evidence.verification.bundle import verify


@dataclass(frozen=True, kw_only=True)
class EarlierProof:
    """A proof of an earlier run."""

    story: ProofEvent
    record: bytes
    """The bytes of its record, as attested."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """An earlier bundle that verified, signed by a key from outside."""

    attestation: bytes
    digest: Digest
    proofs: Mapping[tuple[str, str, Digest], EarlierProof]
    """Criterion, falsifier and digest of the dependencies, to the proof."""

    bound: tuple[Bound, ...]
    """The files that its verdicts depended on."""

    def find(
        self, criterion: str, falsifier: str, depends: Digest, *, now: Iterable[Bound]
    ) -> EarlierProof | None:
        """Return a proof with the same dependencies, or None.

        Args:
            criterion: the id.
            falsifier: its name.
            depends: the digest of what the proof depends on.
            now: the plugins and the other code of this run: a proof is not reused if the earlier
                run loaded more, because that may have made it.

        """
        if loaded(self.bound) - loaded(now):
            return None
        return self.proofs.get((criterion, falsifier, depends))

    @property
    def name(self) -> str:
        """The path of its attestation in a later bundle."""
        return taken_over(self.digest)


def read_earlier(bundle: Path, key: bytes) -> Earlier:
    """Verify an earlier bundle and read its proofs.

    Args:
        bundle: its folder.
        key: the public key that it must be signed with, from outside the bundle.

    Raises:
        BadInputError: it does not verify, or another key signed it.

    """
    found = verify(bundle, key=key)
    if not found.ok or found.predicate is None:
        first = next(iter(found.findings), None)
        raise BadInputError(
            f"{bundle}: --proofs-from: got {first}, expected a bundle that verifies with "
            "--proofs-key; gateproof verify reports more, --fresh repeats all proofs"
        )
    digests = {file.path: file.digest for file in found.predicate.files}
    content = _attested(bundle, RUN, digests)
    run = Run.model_validate(read_json(content))
    attestation = (bundle / ATTESTATION).read_bytes()
    return Earlier(
        attestation=attestation,
        digest=digest_of(attestation),
        proofs=dict(_proofs(bundle, run, digests)),
        bound=found.predicate.bound,
    )


def _proofs(
    bundle: Path, run: Run, digests: Mapping[str, Digest]
) -> Iterator[tuple[tuple[str, str, Digest], EarlierProof]]:
    for verdict in run.criteria:
        for proof in verdict.proofs:
            if proof.result is Falsification.PROVEN and proof.depends is not None:
                record = _attested(bundle, in_bundle(proof.record), digests)
                story = ProofEvent.model_validate(read_json(record))
                key = verdict.id, proof.falsifier, proof.depends
                yield key, EarlierProof(story=story, record=record)


def _attested(bundle: Path, path: str, digests: Mapping[str, Digest]) -> bytes:
    """Read a file again, and check that it still has its attested digest."""
    content = (bundle / path).read_bytes()
    if digest_of(content) != digests.get(path):
        raise BadInputError(f"{bundle / path}: --proofs-from: changed while it was read")
    return content
