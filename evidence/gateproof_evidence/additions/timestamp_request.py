"""Asks an authority for a timestamp over a bundle's attestation.

Owns the request over HTTP. Leaves reading the answer to `gateproof_evidence.additions.timestamp`,
and its place in the bundle to `gateproof_evidence.additions.addition`. Verification never imports
this module: it asks nobody.

Source: RFC 3161 section 3.4 (HTTP); openssl-ts(1).
"""

from __future__ import annotations

import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from gateproof_evidence.additions.addition import LARGEST, add
from gateproof_evidence.additions.timestamp import (
    CLOCK_SKEW,
    PROGRAM,
    Timestamp,
    TimestampError,
    parse_timestamp,
    place_of,
    refusal,
)
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.layout import ATTESTATION
from gateproof_evidence.format.tree import read_tree
from gateproof_evidence.model import Digest
from gateproof_evidence.verification.bundle import verify

DEADLINE_S = 30.0
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


def stamp(
    bundle: Path, url: str, *, authority: bytes | None, clock: Callable[[], datetime]
) -> Timestamp:
    """Have a bundle stamped, and put the answer into its ``timestamps/``.

    Args:
        bundle: the folder; it must verify.
        url: of the authority, http or https.
        authority: certificates (PEM) to hold the answer against before it is kept; None for none.
        clock: gives the present moment.

    Raises:
        BadInputError: the bundle does not verify, or nothing that can be kept was answered.
        NotWritableError: the bundle cannot be added to.

    """
    verified = verify(bundle)
    if not verified.ok:
        raise BadInputError(
            f"{bundle}: timestamp: got {len(verified.findings)} findings, expected a bundle that "
            "verifies; gateproof verify says all of them"
        )
    digest = _digest(bundle)
    answer = _ask(url, _query(digest))
    try:
        path = place_of(answer)
        made = parse_timestamp(answer, path=path)
    except TimestampError as error:
        raise BadInputError(f"{url}: {error}; name another --timestamp-url") from error
    why = _refusal(made, digest, authority, clock())
    if why is not None:
        raise BadInputError(f"{url}: timestamp: got one that is no use ({why}); nothing was kept")
    add(bundle, {path: answer})
    return made


def _digest(bundle: Path) -> Digest:
    files = read_tree(bundle, keep=lambda _: 0).files
    return next(file.digest for file in files if file.path == ATTESTATION)


def _refusal(made: Timestamp, digest: Digest, authority: bytes | None, now: datetime) -> str | None:
    if made.imprint != digest:
        return f"over {made.imprint}, expected {digest}"
    if abs(made.at - now) > CLOCK_SKEW:
        return f"for {made.at}, expected about {now}"
    if authority is None:
        return None
    return refusal(made.content, authority, imprint=digest, at=made.at)


def _query(digest: Digest) -> bytes:
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


def _ask(url: str, query: bytes) -> bytes:
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadInputError(
            f"--timestamp-url: got {url}, expected http://... or https://...; name an authority"
        )
    headers = {"Content-Type": _QUERY, "Accept": _REPLY}
    request = urllib.request.Request(url, data=query, headers=headers)  # noqa: S310 (judged above)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:  # noqa: S310 (the same)
            content = answer.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{url}: timestamp: got {error}, expected an answer; name another --timestamp-url"
        ) from error
    if len(content) > LARGEST:
        raise BadInputError(f"{url}: timestamp: got more than {LARGEST} bytes, expected an answer")
    return bytes(content)
