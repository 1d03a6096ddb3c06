"""Have requests generated from the contracts, and sign them as their vendors do.

Owns running the generator once in a process of pytest, and what a generated request becomes: it
goes to a registered endpoint, with a signature over its own body. So a request that its contract
forbids is refused for that, and not for its signature.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateproof import MissingAbilityError, ProcessProbe, Sut, premise
from system.gates.ingestion.delivery import (
    SECRET,
    SIGNATURES,
    SIGNING,
)

from .document import Sample

PACKAGES = Path(sys.prefix) / "conformance"
COUNT, SEED = int(os.environ.get("SYSTEM_GATES_REQUESTS", "12")), 20261130
"""The requests of each operation and mode; the variable is for a longer run."""
DEADLINE_S = 180.0 + COUNT
VALID, INVALID = "positive", "negative"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One generated request."""

    operation: str
    """The id of its operation."""
    mode: str
    """`VALID` or `INVALID`."""
    sample: Sample

    def signed(self, vendor: str, token: str) -> Request:
        """Return it for the endpoint of a token, signed as the vendor does.

        PayPal signs the id and the time of the transmission too, so they are those of the signer.
        """
        body = self.sample.content
        given = {name.lower(): value for name, value in self.sample.headers.items()}
        event_id = f"WH-{time.time_ns()}"
        own = SIGNING[vendor](body, event_id, SECRET, int(time.time()))
        kept = own if vendor == "paypal" else {SIGNATURES[vendor]: own[SIGNATURES[vendor]]}
        path = f"/webhooks/{vendor}/{token}"
        return replace(self, sample=replace(self.sample, path=path, headers={**given, **kept}))


def generated(machine: ProcessProbe, sut: Sut, documents: Sequence[str]) -> tuple[Request, ...]:
    """Return the generated requests of some released documents, by their paths.

    Raises:
        MissingAbilityError: the generator's packages are not installed.

    """
    if not PACKAGES.is_dir():
        raise MissingAbilityError(
            f"schemathesis: got no {PACKAGES}, expected its packages: run make setup"
        )
    command = [sys.executable, "-m", "system.gates.contracts.generator", str(COUNT), str(SEED)]
    key = tuple((sut.folder / file).read_bytes() for file in documents)
    if key not in _KEPT:
        done = machine.run(
            [*command, *documents],
            env={"PYTHONPATH": os.fspath(PACKAGES)},
            folder=sut.folder,
            deadline_s=DEADLINE_S,
        )
        premise("exit status of the generator", got=done.exit_status, expected=0)
        _KEPT[key] = tuple(
            _request(json.loads(line)) for line in done.output.splitlines() if line[:1] == "{"
        )
    return _KEPT[key]


_KEPT: dict[tuple[bytes, ...], tuple[Request, ...]] = {}
"""The requests of each content of the documents: proofs send those of the check again."""


def _request(line: dict[str, Any]) -> Request:
    sample = Sample(
        method=line["method"],
        path=line["path"],
        headers=line["headers"],
        content=base64.b64decode(line["body"]),
    )
    return Request(operation=line["operation"], mode=line["mode"], sample=sample)
