"""The check of proofs that were reused from an earlier bundle.

A proof is reused if none of its dependencies has changed. The earlier bundle was verified with a
key from outside; its attestation is copied to ``data/taken-over/``, and lists the record of the
proof by its digest. So a verifier of the later bundle can check that the proof was signed before,
and that the earlier run loaded no plugin or other code that the later one did not load.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.attestation import Predicate, parse_statement
from gateproof_evidence.format.envelope import Envelope, pae
from gateproof_evidence.format.layout import in_bundle, taken_over
from gateproof_evidence.format.tree import File
from gateproof_evidence.model import Bound, Digest, Run, loaded
from gateproof_evidence.model.finding import Code, Finding


def compare_taken_over(
    run: Run, files: Mapping[str, File], key: Ed25519PublicKey | None
) -> Iterator[Finding]:
    """Compare every reused proof with the attestation of the earlier bundle.

    Args:
        run: the run as claimed.
        files: by path; earlier attestations have their content.
        key: the signer's key, if given; it must have signed the earlier bundle too.

    """
    for verdict in run.criteria:
        for proof in verdict.proofs:
            if proof.taken_over is not None:
                path = taken_over(proof.taken_over)
                problem = _problem(
                    files,
                    path,
                    proof.taken_over,
                    in_bundle(proof.record),
                    key,
                    now=run.bindings.bound,
                )
                if problem:
                    message = f"{verdict.id}:{proof.falsifier}: {problem}"
                    yield Finding(code=Code.TAKEOVER_MISMATCH, path=path, message=message)


def _problem(
    files: Mapping[str, File],
    path: str,
    digest: Digest,
    record: str,
    key: Ed25519PublicKey | None,
    *,
    now: Sequence[Bound],
) -> str:
    """Return why an earlier attestation does not cover a record; empty if it does."""
    file = files.get(path)
    if file is None or file.content is None:
        return "the attestation of the earlier bundle is missing"
    if file.digest != digest:
        return f"attestation: got {file.digest}, expected {digest}"
    try:
        envelope = Envelope.from_bytes(file.content)
        predicate = parse_statement(envelope.payload)
        if key is not None:
            key.verify(envelope.signature, pae(envelope.payload))
    except (EvidenceError, ValidationError) as error:
        return f"attestation: {str(error).splitlines()[0]}"
    except InvalidSignature:
        return "attestation: not signed by the given key"
    more = sorted(f"{part} {name}" for part, name, _ in loaded(predicate.bound) - loaded(now))
    if more:
        return f"proven with {', '.join(more)}, which this run did not load"
    return _unlisted(predicate, files.get(record), record)


def _unlisted(predicate: Predicate, file: File | None, record: str) -> str:
    listed = {one.path: one.digest for one in predicate.files}
    if file is None or listed.get(record) != file.digest:
        got = file.digest if file else "no record"
        return f"record: got {got}, expected {listed.get(record, 'none')} as attested before"
    return ""
