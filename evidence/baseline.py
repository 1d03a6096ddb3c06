"""Reading the earlier bundle that a run must not fall behind.

Owns verifying it with a key from outside. Leaves what falling behind means to
`evidence.difference`, and what becomes of it to `evidence.judgement`.
"""

from __future__ import annotations

from pathlib import Path

from evidence import consistency
from evidence.canonical import digest_of, read_json
from evidence.difference import standings
from evidence.errors import BadInputError
from evidence.manifest import ATTESTATION
from evidence.model import Baseline, Run
from evidence.verification import verify


def read_baseline(bundle: Path, key: bytes) -> Baseline:
    """Verify a bundle and read what it shows; it need not be a released one.

    Args:
        bundle: its folder.
        key: the public key that it must be signed with, from outside the bundle.

    Raises:
        BadInputError: it does not verify, another key signed it, or it changed while it was read.

    """
    found = verify(bundle, key=key)
    if not found.ok or found.predicate is None:
        first = next(iter(found.findings), None)
        raise BadInputError(
            f"{bundle}: --baseline: got {first}, expected a bundle that verifies with "
            "--baseline-key; gateproof verify tells more"
        )
    content = (bundle / consistency.RUN).read_bytes()
    attested = {file.path: file.digest for file in found.predicate.files}
    if digest_of(content) != attested.get(consistency.RUN):
        raise BadInputError(f"{bundle / consistency.RUN}: --baseline: changed while it was read")
    run = Run.model_validate(read_json(content))
    return Baseline(
        attestation=digest_of((bundle / ATTESTATION).read_bytes()),
        signer=found.signer,
        commit=run.bindings.commit,
        criteria=standings(run),
    )
