"""Reading an earlier bundle as the baseline of a run.

Owns verifying it with a key from outside. Leaves the definition of a regression to
`gateproof_evidence.judging.difference`, and the effect of one to
`gateproof_evidence.judging.judgement`.
"""

from __future__ import annotations

from pathlib import Path

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.canonical import digest_of, read_json
from gateproof_evidence.format.layout import ATTESTATION, RUN
from gateproof_evidence.judging.difference import standings
from gateproof_evidence.model import Baseline, Run


def read_baseline(bundle: Path, key: bytes) -> Baseline:
    """Verify a bundle and read its state; the run may have any result.

    Args:
        bundle: the folder or the ZIP archive.
        key: the public key that it must be signed with, from outside the bundle.

    Raises:
        BadInputError: it does not verify, another key signed it, or it changed while it was read.

    """
    from gateproof_evidence.verification.bundle import (
        verify,  # imported only here: every process of every run imports this module
    )

    source = open_source(bundle)
    found = verify(source, key=key)
    if not found.ok or found.predicate is None:
        first = next(iter(found.findings), None)
        raise BadInputError(
            f"{bundle}: --baseline: got {first}, expected a bundle that verifies with "
            "--baseline-key; gateproof verify reports more"
        )
    content = source.read(RUN)
    attested = {file.path: file.digest for file in found.predicate.files}
    if digest_of(content) != attested.get(RUN):
        raise BadInputError(f"{bundle / RUN}: --baseline: changed while it was read")
    run = Run.model_validate(read_json(content))
    return Baseline(
        attestation=digest_of(source.read(ATTESTATION)),
        signer=found.signer,
        commit=run.bindings.commit,
        criteria=standings(run),
    )
