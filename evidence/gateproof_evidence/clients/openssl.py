"""Call ``openssl ts``, which reads and checks RFC 3161 timestamps and makes requests for them.

Source: openssl-ts(1).
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from gateproof_evidence.errors import BadInputError, EvidenceError
from gateproof_evidence.model import Digest

PROGRAM = "openssl"
DEADLINE_S = 60.0


class OpensslError(EvidenceError):
    """The program refused its input; the message is its reason."""


def ts(*words: str | Path) -> str:
    """Run ``openssl ts`` and return what it prints.

    Args:
        *words: its arguments.

    Raises:
        OpensslError: openssl refused its input.
        BadInputError: openssl is not installed, or it did not exit in time.

    """
    try:
        done = subprocess.run(
            (PROGRAM, "ts", *map(str, words)),
            capture_output=True,
            check=False,
            timeout=DEADLINE_S,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInputError(
            f"{PROGRAM}: timestamps: got {error}, expected it to run; install openssl (1.1.1 or "
            "later)"
        ) from error
    if done.returncode:
        raise OpensslError(_reason(done.stderr))
    return done.stdout.decode("utf-8", "backslashreplace")


def query(digest: Digest) -> bytes:
    """Return a request for a timestamp over a digest.

    Raises:
        BadInputError: openssl is not installed, or it failed.

    """
    with tempfile.TemporaryDirectory(prefix="gateproof-") as folder:
        path = Path(folder, "query")
        command = (PROGRAM, "ts", "-query", "-sha256", "-cert", "-out", str(path), "-digest")
        try:
            subprocess.run(
                (*command, digest.removeprefix("sha256:")), capture_output=True, check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise BadInputError(
                f"{PROGRAM}: timestamp: got {error}, expected a query; install openssl (1.1.1 or "
                "later)"
            ) from error
        return path.read_bytes()


def _reason(stderr: bytes) -> str:
    """Return the reason in openssl's last error, without memory addresses and source lines."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if ":error:" in line]
    parts = lines[-1].split(":") if lines else []
    reasons = [part for part in (*parts[5:6], *parts[8:]) if part]
    return ": ".join(reasons)[:300] or "it cannot be read"
