"""The tag files of a bundle: how to verify it, and the BagIt declarations.

Owns their contents. `gateproof_evidence.sealing.seal` writes and lists them.

Source: RFC 8493 sections 2.1.1 and 2.2.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from gateproof_evidence.format.layout import BAG_INFO, BAGIT, PUBLIC_KEY, VERIFY_SCRIPT, VERIFY_TEXT
from gateproof_evidence.format.manifest import BAGIT_CONTENT, payload_oxum
from gateproof_evidence.format.tree import File
from gateproof_evidence.model import Run

TEMPLATES = Path(__file__).parent / "templates"


def bag_files(
    run: Run, payload: Iterable[File], *, public_pem: bytes, sealed: datetime
) -> Mapping[str, bytes]:
    """Return name and content of every tag file except the manifests and the attestation.

    Args:
        run: the sealed run; bag-info.txt contains its nonce and its result.
        payload: the files under ``data/``.
        public_pem: the public key of the run, in PEM.
        sealed: the time of sealing, UTC.

    """
    return {
        BAGIT: BAGIT_CONTENT,
        BAG_INFO: _bag_info(run, payload, sealed),
        VERIFY_TEXT: (TEMPLATES / VERIFY_TEXT).read_bytes(),
        VERIFY_SCRIPT: (TEMPLATES / VERIFY_SCRIPT).read_bytes(),
        PUBLIC_KEY: public_pem,
    }


def _bag_info(run: Run, payload: Iterable[File], sealed: datetime) -> bytes:
    lines = (
        "Bag-Software-Agent: gateproof",
        f"Bagging-Date: {sealed.date().isoformat()}",
        f"External-Identifier: {run.bindings.nonce}",
        f"External-Description: gate run, result {run.result}",
        f"Payload-Oxum: {payload_oxum(payload)}",
    )
    return "".join(f"{line}\n" for line in lines).encode("utf-8")
