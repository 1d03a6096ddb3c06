"""The answer of each verifier on a case's bundle: ours, the script, and other projects'.

Each answers whether it refuses. None means that a verifier cannot answer: node and
securesystemslib check only the signature, and bagit would wait for a pipe for ever.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import stat
import subprocess
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bagit
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer._key import Key, SSlibKey

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.sealing.bag import TEMPLATES
from gateproof_evidence.verification.bundle import verify
from tests.corpus.recipe import Made
from tests.corpus.workshop import ATTESTATION, MANIFEST, TAGS

_MARK = re.compile(r"-[0-9a-f]{16}\.json")
NODE = shutil.which("node")
OTHERS = ("sha256sum -c", "bagit", "securesystemslib", "node")
"""The verifiers of other projects, by their names in the table."""


def gateproof(made: Made) -> tuple[str, ...]:
    """Return code and path of every finding, or that it was bad input."""
    key = made.key.read_bytes() if made.key else None
    try:
        found = verify(made.bundle, key=key, expect=made.expect, policy=made.policy, now=made.now)
    except BadInputError:
        return ("BAD_INPUT .",)
    return tuple(sorted({f"{one.code} {printable(one.path)}" for one in found.findings}))


def printable(path: str) -> str:
    """Return a path for the page, without the digest in a sign-off's name."""
    plain = path.isascii() and path.isprintable()
    return _MARK.sub("-*.json", path if plain else ascii(path)[1:-1])


def script(made: Made) -> bool:
    """Return whether the script of this checkout refuses."""
    key = [str(made.key)] if made.key else []
    command = ["sh", str(TEMPLATES / "verify.sh"), str(made.bundle), *key]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (0, 1, 4), done.stderr
    assert bool(done.stderr) is bool(done.returncode), (
        "a refusal has a message, and nothing else has"
    )
    return done.returncode != 0


def others(made: Made) -> Mapping[str, bool | None]:
    """Run every verifier but node, which runs once for all cases."""
    if not made.bundle.is_dir():
        return dict.fromkeys(OTHERS)
    return {
        "sha256sum -c": _sha256sum(made.bundle),
        "bagit": None if _waits(made.bundle) else _bagit(made.bundle),
        "securesystemslib": _securesystemslib(made),
    }


def _sha256sum(bundle: Path) -> bool:
    """Check both manifests with sha256sum."""
    commands = [["sha256sum", "--strict", "-c", name] for name in (MANIFEST, TAGS)]
    done = [
        subprocess.run(command, cwd=bundle, capture_output=True, check=False)
        for command in commands
        if (bundle / command[-1]).exists()
    ]
    return any(one.returncode for one in done)


def _waits(bundle: Path) -> bool:
    modes = [path.lstat().st_mode for path in bundle.rglob("*")]
    return any(stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) for mode in modes)


def _bagit(bundle: Path) -> bool:
    logging.getLogger("bagit").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # Its calls of re.sub are deprecated from Python 3.13 on.
            warnings.simplefilter("ignore", DeprecationWarning)
            bagit.Bag(str(bundle)).validate()
    except (bagit.BagError, OSError, ValueError):
        return True
    return False


def _securesystemslib(made: Made) -> bool | None:
    """Verify the envelope's signature by one key, under every claimed id.

    The library refuses a signature whose id is not the key's, but ids prove nothing.
    """
    pem = _pem(made)
    if pem is None:
        return None
    try:
        document = json.loads((made.bundle / ATTESTATION).read_bytes())
        public = load_pem_public_key(pem)
        ids = {str(one["keyid"]) for one in document["signatures"]}
        keys: list[Key] = [SSlibKey.from_crypto(public, keyid=one) for one in ids]
        Envelope.from_dict(document).verify(keys, threshold=1)
    except Exception:  # noqa: BLE001 (any error is a refusal)
        return True
    return False


def _pem(made: Made) -> bytes | None:
    path = made.key or made.bundle / "public-key.pem"
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        return content if content.startswith(b"-----BEGIN PUBLIC KEY-----") else None
    return None


NODE_PROGRAM = """
const {createPublicKey, verify} = require("node:crypto");
const {readFileSync} = require("node:fs");
const refuses = ({envelope, key}) => {
  try {
    const document = JSON.parse(readFileSync(envelope, "utf8"));
    const body = Buffer.from(document.payload, "base64");
    const type = document.payloadType;
    const head = `DSSEv1 ${Buffer.byteLength(type)} ${type} ${body.length} `;
    const pae = Buffer.concat([Buffer.from(head), body]);
    const publicKey = createPublicKey(readFileSync(key));
    const holds = ({sig}) => verify(null, pae, publicKey, Buffer.from(sig, "base64"));
    return !document.signatures.some(holds);
  } catch { return true; }
};
const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(refuses)));
"""


def node(cases: Sequence[Made]) -> Iterator[bool | None]:
    """Verify every envelope's signature with node's crypto, in one process."""
    asked = [made for made in cases if made.bundle.is_dir()]
    inputs: list[dict[str, Any]] = [
        {
            "envelope": str(made.bundle / ATTESTATION),
            "key": str(made.key or made.bundle / "public-key.pem"),
        }
        for made in asked
    ]
    assert NODE is not None
    done = subprocess.run(
        [NODE, "-e", NODE_PROGRAM],
        input=json.dumps(inputs),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = dict(zip(map(id, asked), json.loads(done.stdout), strict=True))
    return (answers.get(id(made)) for made in cases)
